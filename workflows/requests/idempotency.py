"""Idempotency: answer a repeated request with the bytes of the first answer, for 24 hours.

Two requests are the same if their caller, key, method, path and the meaning of their body are equal.

A record is written in the transaction whose result it stores, so neither exists without the other. Bodies are compared by a
keyed hash of their meaning, so that a secret in a body cannot be guessed from the table.

Each caller has its own keys. The table's primary key is ``(merchant_id, key, path, method)``, because the previous release
inserts by it. The record of the first caller of a merchant to use a key is stored under the key itself. The record of another
caller that uses the same key is stored under ``Key.alternative_key``. A transaction that stores such a record locks the first
caller's record, so that it exists until the transaction ends. Therefore two requests of one caller always use the same
primary key.

A use-case that writes runs these steps in one transaction: lock the row that it changes (a second request with the same key
then waits for the first), call ``known_answer``, do the work, call ``store_answer``. If there is no row to lock,
``store_answer`` raises an error for the second request, which rolls its work back.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.connection import Connection, Row
from workflows.database.engines import Base, rows_parameter
from workflows.database.mixins import INSTANT
from workflows.errors import Detail, IdempotencyKeyInUse, IdempotencyKeyReused, ServiceUnavailable
from workflows.requests.first_answers import with_bodies
from workflows.tenants.caller import Caller, caller_transaction

KEY_LIFE = timedelta(hours=24)
"""The replay window. ``client_reference`` protects against duplicates without a time limit."""


class IdempotencyRecord(Base):
    """The stored answer to a request with a key."""

    __tablename__ = "idempotency_records"
    __table_args__ = (Index("idempotency_records_by_expiry", "expires_at"),)

    merchant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    path: Mapped[str] = mapped_column(Text, primary_key=True)
    method: Mapped[str] = mapped_column(Text, primary_key=True)
    caller: Mapped[str] = mapped_column(Text, server_default="")
    fingerprint: Mapped[str] = mapped_column(Text)
    meaning: Mapped[str | None] = mapped_column(Text)
    status: Mapped[int]
    body: Mapped[str | None] = mapped_column(Text)
    resource_id: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    expires_at: Mapped[datetime] = mapped_column(INSTANT)
    recipe: Mapped[str | None] = mapped_column(Text)


@dataclass(frozen=True, slots=True)
class Key:
    """An ``Idempotency-Key``, and what identifies the request that sent it.

    ``caller`` is ``Caller.identity``. ``fingerprint`` is a keyed hash of the body's bytes, which the previous release
    compares. ``meaning`` is a keyed hash of what the body means, then a colon and the currency that the body names, if any.
    """

    value: str
    method: str
    path: str
    caller: str
    fingerprint: str
    meaning: str

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """The values that are equal for repeated requests of one merchant: caller, method, path and key."""
        return self.caller, self.method, self.path, self.value

    @property
    def record_key(self) -> tuple[str, str, str]:
        """The usual primary key of the request's record within a merchant: method, path and key.

        If another caller's record already has it, the record is stored under ``alternative_key`` instead of the key.
        """
        return self.method, self.path, self.value

    @property
    def alternative_key(self) -> str:
        """The ``key`` column of the request's record if another caller's record already has the key itself.

        The value cannot equal a key, because keys are printable and the value contains a newline.
        """
        return f"{self.value}\n{self.caller}"

    def row(self, *, is_alternative: bool = False) -> dict[str, str]:
        """Return the columns of the record that describe the request."""
        return {
            "method": self.method,
            "path": self.path,
            "key": self.alternative_key if is_alternative else self.value,
            "caller": self.caller,
            "fingerprint": self.fingerprint,
            "meaning": self.meaning,
        }


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer: its HTTP status and the bytes of its body. ``is_replay`` if it was stored by an earlier request.

    With a ``recipe``, the record has that instead of the body (``workflows.requests.first_answers``).
    """

    status: int
    body: bytes
    resource_id: str | None = None
    is_replay: bool = True
    recipe: str | None = None


def fingerprint(body: bytes, *, secret: bytes) -> str:
    """Return a keyed hash of ``body``."""
    # Not hmac.digest(): it releases the GIL, which costs a busy process far more than the hash.
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def replay(key: Key, found: Row, *, currency: str | None = None) -> StoredAnswer:
    """Return the stored answer if the request means the same as the first request with its key.

    ``found`` has the columns of ``ANSWER``. ``currency`` is the store's currency, which applies to a body without a currency.
    Raises ``IdempotencyKeyReused`` if the first request meant something else, and ``ServiceUnavailable`` if its answer
    can't be rendered again (``with_bodies``).
    """
    if not _is_same(key, found, currency):
        raise IdempotencyKeyReused(Detail("Idempotency-Key", _advice(found["resource_id"])))
    if found["body"] is None:
        raise ServiceUnavailable(retry_after_seconds=60)
    return StoredAnswer(found["status"], found["body"].encode())


def _is_same(key: Key, found: Row, currency: str | None) -> bool:
    if found["meaning"] is None:  # stored by the previous release
        return hmac.compare_digest(found["fingerprint"], key.fingerprint)
    (first, first_currency), (second, second_currency) = (
        meaning.partition(":")[::2] for meaning in (found["meaning"], key.meaning)
    )
    return hmac.compare_digest(first, second) and (first_currency or currency) == (second_currency or currency)


_COLLECTIONS = {"pay": "payments", "rfd": "refunds", "ord": "orders", "bil": "bills"}


def _advice(resource_id: str | None) -> str:
    if not resource_id:
        return "The first request with this key was refused and nothing was done; send this request with a new key"
    collection = _COLLECTIONS.get(resource_id.partition("_")[0])
    look = f"GET /api/v1/{collection}/{resource_id}" if collection else resource_id
    return f"The first request with this key created {resource_id}. See {look}; use a new key only for what is not done yet"


ANSWER = "fingerprint, meaning, status, body, resource_id, recipe"
"""The columns of a record that ``replay`` needs."""

OWNER = "CASE {0}.caller WHEN '' THEN made_by({0}.resource_id, {0}.path) ELSE {0}.caller END"
"""SQL expression for the caller of record ``{0}``.

The previous release did not store the caller, so it is derived from the resource. Its stored errors have no resource, and
therefore no caller.
"""

STORE_RECORDS = f"""
    -- store: answers in the transaction of their rows; an expired record is overwritten by its own caller
    INSERT INTO idempotency_records AS k (merchant_id, method, path, key, caller, fingerprint, meaning, status, body,
                                          resource_id, recipe, created_at, expires_at)
    SELECT merchant_id, method, path, key, caller, fingerprint, meaning, status, body, resource_id, recipe, now(),
           now() + :life
    FROM jsonb_populate_recordset(NULL::idempotency_records, CAST(:rows AS jsonb))
    ORDER BY merchant_id, key, path, method -- groups that share keys lock them in one order, so that they cannot deadlock
    ON CONFLICT (merchant_id, key, path, method) DO UPDATE SET
        caller = excluded.caller, fingerprint = excluded.fingerprint, meaning = excluded.meaning,
        status = excluded.status, body = excluded.body, recipe = excluded.recipe, resource_id = excluded.resource_id,
        created_at = excluded.created_at, expires_at = excluded.expires_at
    WHERE k.expires_at <= now() AND {OWNER.format("k")} = excluded.caller
"""
"""SQL that stores ``:rows``, made by ``record_row``, for the time ``:life``. It is also a part of larger statements.

A row whose primary key another record has is skipped.
"""

_STORE = text(STORE_RECORDS)
_FIND = text(f"""
    SELECT {ANSWER} FROM idempotency_records k
    WHERE merchant_id = :merchant_id AND method = :method AND path = :path AND key IN (:key, :alternative)
      AND expires_at > now() AND {OWNER.format("k")} = :caller
    LIMIT 1
""")
_LOCK_OTHERS = text(f"""
    -- lock others: other callers' records, which must not be deleted while ours are stored under alternative keys
    SELECT i.n FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS i(n integer, merchant_id text, method text, path text, key text, caller text)
    CROSS JOIN LATERAL (
        SELECT 1 FROM idempotency_records k
        WHERE merchant_id = i.merchant_id AND key = i.key AND path = i.path AND method = i.method
          AND {OWNER.format("k")} IS DISTINCT FROM i.caller
        LIMIT 1 FOR KEY SHARE
    ) locked
""")


async def known_answer(connection: Connection, merchant_id: str, key: Key) -> StoredAnswer | None:
    """Return the answer stored for ``key``, or ``None``. Raises ``IdempotencyKeyReused``."""
    parameters = {**key.row(), "merchant_id": merchant_id, "alternative": key.alternative_key}
    found = await with_bodies(connection.execute, (await connection.execute(_FIND, parameters)).mappings().all())
    return replay(key, found[0]) if found else None


async def store_answer(connection: Connection, merchant_id: str, key: Key, stored: StoredAnswer) -> None:
    """Store the answer to ``key``, in the transaction whose result it is.

    Raises ``IdempotencyKeyInUse`` if another request with this key has stored its answer meanwhile. This transaction is then
    rolled back, and the next request with the key gets the answer of the other request.
    """
    if not await _store(connection, merchant_id, key, stored):
        raise IdempotencyKeyInUse(retry_after_seconds=1)


async def store_or_replay(caller: Caller, key: Key, *, merchant_id: str, status: int, body: bytes) -> StoredAnswer:
    """Store the answer to a failed request that wrote no row, or return the answer that the key has.

    ``merchant_id`` is the caller's merchant or, for callers above the merchants, the merchant that the request names.
    Raises ``IdempotencyKeyReused``, and the errors of ``caller_transaction``.
    """
    stored = StoredAnswer(status, body, is_replay=False)
    async with caller_transaction(caller) as connection:
        if await _store(connection, merchant_id, key, stored):
            return stored
        return await known_answer(connection, merchant_id, key) or stored


@dataclass(frozen=True, slots=True)
class AnswerToStore:
    """An answer to store, in a group. ``is_taken`` says that the look-up found another caller's record under the key."""

    merchant_id: str
    key: Key
    stored: StoredAnswer
    is_taken: bool = False

    def row(self, *, is_alternative: bool = False) -> dict[str, Any]:
        """Return the answer's row for ``STORE_RECORDS``."""
        return record_row(self.merchant_id, self.key, self.stored, is_alternative=is_alternative)


async def record_rows(connection: Connection, answers: Sequence[AnswerToStore]) -> list[dict[str, Any]]:
    """Return the rows for ``STORE_RECORDS``, and lock other callers' records under the same keys.

    A row has the alternative key if another record has the key itself. Raises ``IdempotencyKeyInUse`` if a record that the
    look-up found has disappeared since.
    """
    alternatives = [answer for answer in answers if answer.is_taken]
    if alternatives and not await _lock_others(connection, alternatives):
        raise IdempotencyKeyInUse(retry_after_seconds=1)
    rows, used_keys = [], set[tuple[str, ...]]()
    for answer in answers:
        record_key = (answer.merchant_id, *answer.key.record_key)
        is_alternative = answer.is_taken or record_key in used_keys  # a record of this group has the key already
        used_keys.add(record_key)
        rows.append(answer.row(is_alternative=is_alternative))
    return rows


def record_row(merchant_id: str, key: Key, stored: StoredAnswer, *, is_alternative: bool = False) -> dict[str, Any]:
    """Return the row of ``idempotency_records`` for ``stored``, without its timestamps."""
    body = stored.body.decode() if stored.recipe is None else None
    answer = {"status": stored.status, "body": body, "recipe": stored.recipe, "resource_id": stored.resource_id}
    return {**key.row(is_alternative=is_alternative), **answer, "merchant_id": merchant_id}


async def _store(connection: Connection, merchant_id: str, key: Key, stored: StoredAnswer) -> bool:
    for is_alternative in (False, True):
        rows = rows_parameter([record_row(merchant_id, key, stored, is_alternative=is_alternative)])
        if (await connection.execute(_STORE, {"rows": rows, "life": KEY_LIFE})).rowcount:
            return True
        # A separate statement, because the one above does not see a record for which it had to wait.
        if not is_alternative and not await _lock_others(connection, [AnswerToStore(merchant_id, key, stored)]):
            return False
    return False


async def _lock_others(connection: Connection, answers: Sequence[AnswerToStore]) -> bool:
    """Lock other callers' records under the keys of ``answers``; return whether each key had a record."""
    rows = [{"n": n, "merchant_id": answer.merchant_id, **answer.key.row()} for n, answer in enumerate(answers)]
    return (await connection.execute(_LOCK_OTHERS, {"rows": rows_parameter(rows)})).rowcount == len(answers)
