"""Export a settlement with all its lines and breaks as CSV or JSON, page by page, whatever its size.

Each page is read by key in its own transaction, so that a slow client does not hold a connection or a snapshot. The lines of
a closed settlement are the same on all pages. The breaks are those of the last run when the export began; their resolutions
are read with their page. Amounts are minor units and timestamps are UTC, as everywhere in the API; the printable report
(``compose``) is meant for people.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from sqlalchemy import TextClause, text

from workflows.database.json_rendering import instant, render
from workflows.reconciliation.queries import BREAK_FIELDS, RESOLUTION_FIELDS, break_fields
from workflows.settlements.models import Settlement
from workflows.settlements.queries import LINE_FIELDS, line_fields, read_settlement, settlement_fields
from workflows.tenants.actor import Actor
from workflows.tenants.caller import Caller, caller_transaction

PAGE = 1_000
"""Rows per page. A page takes some ten milliseconds, during which the process serves nothing else."""

BREAK_COLUMNS = (
    *(name for name in BREAK_FIELDS if name != "settlement_id"),
    *("difference", "fee_difference", "age_days"),
    *RESOLUTION_FIELDS,
)
"""The fields of a break in a CSV: those whose value fits into one cell."""

COLUMNS = ("record", *LINE_FIELDS, *(name for name in BREAK_COLUMNS if name not in LINE_FIELDS))
"""The columns of a whole export; ``record`` says whether a row is a line or a break."""

_LINES = text("""
    -- lines: one page by key; row-level security limits it to what the caller may see
    SELECT *, entity_id AS key FROM settlement_lines
    WHERE settlement_id = :id AND entity_id > :after ORDER BY entity_id LIMIT :limit
""")
_BREAKS = text("""
    -- breaks: one page of the breaks that the run found. A later run that finds a break again writes its number there.
    SELECT *, now() AS now, id AS key FROM breaks
    WHERE settlement_id = :id AND id > :after AND run >= :run AND opened_at <= :run_at ORDER BY id LIMIT :limit
""")
_LAST_RUN = text("SELECT max(number) AS run, max(at) AS run_at FROM reconciliation_runs WHERE settlement_id = :id")

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Prefixes that make a spreadsheet run a text as a formula; in Japanese the full-width signs do too."""


async def export_lines_csv(settlement_id: str, *, caller: Caller) -> AsyncIterator[bytes]:
    """Yield the lines as CSV. Raises ``ResourceNotFound`` before the first chunk."""
    parameters = await _page_parameters(settlement_id, caller)
    yield csv_rows([LINE_FIELDS])
    async for page in _pages(_LINES, parameters, caller):
        yield csv_rows(line_fields(row).values() for row in page)


async def export_csv(settlement_id: str, *, caller: Caller) -> AsyncIterator[bytes]:
    """Yield lines, then breaks, as one CSV table. Raises ``ResourceNotFound`` before the first chunk."""
    parameters = await _page_parameters(settlement_id, caller)
    yield csv_rows([COLUMNS])
    async for page in _pages(_LINES, parameters, caller):
        yield csv_rows(_cells("line", line_fields(row)) for row in page)
    async for page in _pages(_BREAKS, parameters, caller):
        yield csv_rows(_cells("break", break_fields(row)) for row in page)


async def export_json(settlement_id: str, *, caller: Caller) -> AsyncIterator[bytes]:
    """Yield settlement, lines and breaks as JSON. Raises ``ResourceNotFound`` before the first chunk."""
    settlement = settlement_fields(await read_settlement(settlement_id, caller=caller))
    parameters = await _page_parameters(settlement_id, caller)
    yield b'{"settlement":' + render(settlement) + b',"lines":['
    async for piece in _json_rows(_pages(_LINES, parameters, caller), line_fields):
        yield piece
    yield b'],"breaks":['
    async for piece in _json_rows(_pages(_BREAKS, parameters, caller), break_fields):
        yield piece
    yield b"]}"


async def _json_rows(pages: AsyncIterator[list[dict[str, Any]]], show: Any) -> AsyncIterator[bytes]:
    is_first = True
    async for page in pages:
        piece = b",".join(render(show(row)) for row in page)
        yield piece if is_first else b"," + piece
        is_first = False


async def _page_parameters(settlement_id: str, caller: Caller) -> dict[str, Any]:
    """Return the parameters of all pages: the settlement and its last run. Raises ``ResourceNotFound``."""
    async with caller_transaction(caller, is_long=True) as connection:
        await Actor(caller).require_visible(connection, Settlement, settlement_id)
        last_run = (await connection.execute(_LAST_RUN, {"id": settlement_id})).mappings().one()
    return {"id": settlement_id, **last_run}


async def _pages(
    statement: TextClause, parameters: dict[str, Any], caller: Caller
) -> AsyncIterator[list[dict[str, Any]]]:
    after = ""
    while True:
        async with caller_transaction(caller, is_long=True) as connection:
            found = await connection.execute(statement, {**parameters, "after": after, "limit": PAGE})
            page = [dict(row) for row in found.mappings()]
        if not page:
            return
        yield page
        after = page[-1]["key"]


def _cells(record: str, fields: Mapping[str, Any]) -> list[Any]:
    return [record, *(fields.get(name) for name in COLUMNS[1:])]


def csv_rows(rows: Iterable[Iterable[Any]]) -> bytes:
    """Return rows as CSV in UTF-8."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerows([cell(value) for value in row] for row in rows)
    return written.getvalue().encode()


def cell(value: Any) -> Any:
    """Return a value as a CSV cell.

    A text that a spreadsheet would run as a formula is prefixed with an apostrophe.
    """
    if isinstance(value, str):
        return "'" + value if value.startswith(FORMULA) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    return instant(value) if hasattr(value, "tzinfo") else value
