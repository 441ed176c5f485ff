"""Store a provider's file for a settlement, completely or not at all, in one transaction.

| step    | what                                                                                                     |
|---------|----------------------------------------------------------------------------------------------------------|
| digest  | compute the SHA-256 of the file, before the transaction                                                  |
| check   | stop if the key has a stored answer, or if the file is the current one already                           |
| read    | parse the file's lines by the mapping, in batches, into a temporary table (COPY)                         |
| store   | the statement, the raw file in chunks (card numbers masked), its lines, the mapping if it was declared   |

The temporary table is needed because COPY does not work on tables with row-level security. Only one batch of lines and one
chunk of the file are in memory at a time, whatever its size.
"""

import asyncio
import hashlib
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Any

from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import rows_parameter, use_bulk_settings
from workflows.database.json_rendering import render
from workflows.errors import Detail, InvalidRequest
from workflows.ids import new_id
from workflows.providers.statement_mapping import StatementMapping
from workflows.reconciliation.queries import statement_fields
from workflows.reconciliation.statements.lines import COLUMNS, ParsedLine
from workflows.reconciliation.statements.parse_file import OpenedStatement, open_statement
from workflows.requests.idempotency import Key, StoredAnswer, known_answer, store_answer
from workflows.settlements.lock import lock_statements, read_locked
from workflows.settlements.models import LockedSettlement, Settlement
from workflows.settlements.states import SETTLEMENT, SettlementStatus
from workflows.tenants.actor import Actor
from workflows.transitions import invalid_transition_error

PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file for a settlement.

    ``mapping`` is the mapping that the sender declared, if any; ``source`` is ``api`` or ``upload``.
    """

    settlement_id: str
    provider: str
    file: IO[bytes]
    format: str
    source: str = "upload"
    mapping: StatementMapping | None = None
    is_declared: bool = False
    """Whether ``mapping`` is stored for this merchant's next files of the provider."""


_NEWEST = text("""
    -- newest: the current statement. A superseded file becomes current again when it is sent again.
    SELECT * FROM statements WHERE settlement_id = :settlement_id AND provider = :provider ORDER BY number DESC LIMIT 1
""")
_STORED_MAPPING = text(
    "SELECT mapping FROM statement_mappings WHERE merchant_id = :merchant_id AND provider = :provider"
)
_INCOMING = text("""
    CREATE TEMPORARY TABLE incoming_lines (
        line_number integer, kind text, is_settled boolean, our_reference text, provider_reference text, amount bigint,
        currency text, fee bigint, occurred_at timestamptz, occurred_on date) ON COMMIT DROP
""")
_STATEMENT = text("""
    -- statement: numbered within its settlement; a provider's newest statement is current
    INSERT INTO statements (id, merchant_id, store_id, settlement_id, number, provider, source, format, mapping, sha256,
                            size_bytes, line_count, created_at, created_by)
    SELECT r.id, r.merchant_id, r.store_id, r.settlement_id,
           (SELECT coalesce(max(number), 0) + 1 FROM statements WHERE settlement_id = r.settlement_id),
           r.provider, r.source, r.format, r.mapping, r.sha256, r.size_bytes,
           (SELECT count(*) FROM incoming_lines), r.created_at, r.created_by
    FROM jsonb_populate_recordset(NULL::statements, CAST(:rows AS jsonb)) r
    RETURNING *
""")
_PIECE = text("INSERT INTO statement_chunks VALUES (:statement_id, :number, :merchant_id, :store_id, :data)")
_LINES = text(f"""
    INSERT INTO statement_lines (statement_id, merchant_id, store_id, {", ".join(COLUMNS)})
    SELECT :statement_id, :merchant_id, :store_id, {", ".join(COLUMNS)} FROM incoming_lines
""")
_STORE_MAPPING = text("""
    INSERT INTO statement_mappings AS m (merchant_id, provider, mapping, changed_at, changed_by)
    VALUES (:merchant_id, :provider, CAST(:mapping AS jsonb), :at, :by)
    ON CONFLICT (merchant_id, provider) DO UPDATE SET
        mapping = excluded.mapping, changed_at = excluded.changed_at, changed_by = excluded.changed_by
""")

_COPY = f"COPY incoming_lines ({', '.join(COLUMNS)}) FROM STDIN"
_ESCAPES = str.maketrans({"\\": "\\\\"})  # fields have no tabs or line ends, because these are not printable


async def receive_statement(incoming: Incoming, *, actor: Actor, key: Key | None = None) -> StoredAnswer:
    """Store a file and return the answer with its statement.

    Sending the current file again changes nothing.

    Raises ``ResourceNotFound``, ``InvalidRequest`` (with the lines that cannot be read), ``InvalidStatusTransition``
    (already reconciled), ``IdempotencyKeyReused``, ``IdempotencyKeyInUse`` and ``ServiceUnavailable``.
    """
    sha256, size_bytes = await asyncio.to_thread(digest, incoming.file)
    async with actor.transaction(is_long=True) as connection:
        await actor.require_visible(connection, Settlement, incoming.settlement_id)
        await use_bulk_settings(connection)
        # The second of two concurrent files waits and then finds the first; a file that waits for a run finds its result.
        await lock_statements(connection, incoming.settlement_id)
        settlement = await read_locked(connection, incoming.settlement_id)
        known = await known_answer(connection, settlement["merchant_id"], key) if key else None
        if known:
            return known
        identity = {"settlement_id": settlement["id"], "provider": incoming.provider, "sha256": sha256}
        newest = (await connection.execute(_NEWEST, identity)).mappings().one_or_none()
        if newest and _changes_nothing(newest, incoming, sha256):
            stored = _answer(dict(newest))
        else:
            row = {**identity, "size_bytes": size_bytes, "created_by": actor.id}
            stored = _answer(await _store(connection, incoming, settlement, row))
        if key:
            await store_answer(connection, settlement["merchant_id"], key, stored)
    return stored


def _changes_nothing(newest: RowMapping, incoming: Incoming, sha256: str) -> bool:
    """Return whether ``incoming`` would change nothing, given the current statement ``newest``.

    An answer of the provider's API never supersedes an uploaded file, which may have been sent while the API was called. The
    same file, read with the same mapping, is the same statement. A wrong mapping is corrected by sending the file once more.
    """
    if incoming.source == "api" and newest["source"] == "upload":
        return True
    is_read_alike = incoming.mapping is None or incoming.mapping == _parse_mapping(newest["mapping"])
    return bool(newest["sha256"] == sha256) and is_read_alike


async def _store(
    connection: AsyncConnection, incoming: Incoming, settlement: LockedSettlement, row: dict[str, Any]
) -> dict[str, Any]:
    """Parse the file and store the statement; return the statement's row.

    The raw file, its lines and a declared mapping are stored too.
    """
    if settlement["status"] == SettlementStatus.RECONCILED:
        raise invalid_transition_error(SETTLEMENT, settlement["status"], "take a statement")
    mapping = incoming.mapping or await _stored_mapping(connection, settlement["merchant_id"], incoming.provider)
    opened = open_statement(incoming.file, provider=incoming.provider, format_=incoming.format, mapping=mapping)
    with closing(opened):
        await connection.execute(_INCOMING)
        await _copy(connection, opened)
    owner = {name: settlement[name] for name in ("merchant_id", "store_id")}
    new = {
        **row,
        **owner,
        "id": new_id("statement"),
        "source": incoming.source,
        "format": incoming.format,
        "mapping": opened.mapping.model_dump(),
        "created_at": settlement["now"],
    }
    statement = (await connection.execute(_STATEMENT, {"rows": rows_parameter([new])})).mappings().one()
    async with opened.copy_to_store(incoming.file) as copy:
        await _store_file(connection, copy, {**owner, "statement_id": new["id"]})
    await connection.execute(_LINES, {**owner, "statement_id": new["id"]})
    if incoming.is_declared:
        declared = {"mapping": opened.mapping.model_dump_json(), "at": settlement["now"], "by": row["created_by"]}
        await connection.execute(_STORE_MAPPING, {**owner, **declared, "provider": incoming.provider})
    return dict(statement)


async def _stored_mapping(connection: AsyncConnection, merchant_id: str, provider: str) -> StatementMapping | None:
    found = (
        await connection.execute(_STORED_MAPPING, {"merchant_id": merchant_id, "provider": provider})
    ).scalar_one_or_none()
    mapping = _parse_mapping(found) if found else None
    if found and mapping is None:
        raise InvalidRequest(Detail("mapping", "The stored mapping is no longer valid; declare it again"))
    return mapping


def _parse_mapping(stored: dict[str, Any]) -> StatementMapping | None:
    """Return a stored mapping, or ``None`` if an earlier release accepted a mapping that is now refused."""
    try:
        return StatementMapping.model_validate(stored)
    except ValidationError:
        return None


async def _copy(connection: AsyncConnection, opened: OpenedStatement) -> None:
    driver: Any = (await connection.get_raw_connection()).driver_connection
    async with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
        async for batch in opened.batches():
            await copy.write(await asyncio.to_thread(_block, batch))


def _block(lines: list[ParsedLine]) -> str:
    return "".join("\t".join(map(_text, line)) + "\n" for line in lines)


def _text(value: Any) -> str:
    if value is None:
        return "\\N"
    return value.translate(_ESCAPES) if isinstance(value, str) else str(value)


async def _store_file(connection: AsyncConnection, file: IO[bytes], owner: dict[str, Any]) -> None:
    file.seek(0)
    number = 0
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        number += 1
        await connection.execute(_PIECE, {**owner, "number": number, "data": piece})


def digest(file: IO[bytes]) -> tuple[str, int]:
    """Return the SHA-256 of a file in hexadecimal and its size in bytes, and rewind the file."""
    file.seek(0)
    sum_, size = hashlib.sha256(), 0
    while piece := file.read(PIECE_BYTES):
        sum_.update(piece)
        size += len(piece)
    file.seek(0)
    return sum_.hexdigest(), size


def _answer(row: dict[str, Any]) -> StoredAnswer:
    return StoredAnswer(201, render(statement_fields(row)), resource_id=row["id"], is_replay=False)
