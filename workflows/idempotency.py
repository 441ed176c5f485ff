"""Idempotency: the same key and the same body get the same answer again, byte for byte, for 24 hours.

A record is written in the transaction of what it answers for, so there is never one without the other. What is compared
is a keyed hash of the body, so that a body with a secret in it cannot be guessed from the table.

A use-case that writes: first lock what it is about (of two requests with one key the second then waits for the first),
then ``known_answer``, then do the work, then ``keep_in``, all in one transaction. Where there is nothing to lock, the
second finds its key taken when it comes to ``keep_in``, which undoes its work.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Index, Text, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from workflows.columns import INSTANT
from workflows.database import Base, rows_parameter
from workflows.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from workflows.tenants.caller import Caller, caller_transaction

KEY_LIFE = timedelta(hours=24)
"""The replay window (behaviour §6). ``client_reference`` is the guard that lasts for ever."""


class IdempotencyRecord(Base):
    """The answer that a key was given, to be given again."""

    __tablename__ = "idempotency_records"
    __table_args__ = (Index("idempotency_records_by_expiry", "expires_at"),)

    merchant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    path: Mapped[str] = mapped_column(Text, primary_key=True)
    method: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text)
    status: Mapped[int]
    body: Mapped[str] = mapped_column(Text)
    resource_id: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    expires_at: Mapped[datetime] = mapped_column(INSTANT)


@dataclass(frozen=True, slots=True)
class Key:
    """An ``Idempotency-Key`` with the request it came with."""

    value: str
    method: str
    path: str
    fingerprint: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes two requests the same one, within a merchant."""
        return self.method, self.path, self.value

    def row(self) -> dict[str, str]:
        """The columns of its record that the request decides."""
        return {"method": self.method, "path": self.path, "key": self.value, "fingerprint": self.fingerprint}


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer: its HTTP status and its body's bytes."""

    status: int
    body: bytes
    resource_id: str | None = None
    is_replay: bool = True


def fingerprint(body: bytes, *, secret: bytes) -> str:
    """A keyed hash of ``body``."""
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def replay(key: Key, stored_fingerprint: str, status: int, body: str) -> Stored:
    """The stored answer. Raises ``IdempotencyKeyReused`` where the key came with another body."""
    if not hmac.compare_digest(stored_fingerprint, key.fingerprint):
        raise IdempotencyKeyReused()
    return Stored(status, body.encode())


KEEP = """
    -- keep: answers beside the rows they speak of; a record beyond its replay window gives its place away
    INSERT INTO idempotency_records AS k (merchant_id, method, path, key, fingerprint, status, body, resource_id,
                                          created_at, expires_at)
    SELECT merchant_id, method, path, key, fingerprint, status, body, resource_id, now(), now() + :life
    FROM jsonb_populate_recordset(NULL::idempotency_records, CAST(:rows AS jsonb))
    ORDER BY merchant_id, key, path, method -- groups that share keys wait for each other, and not in a ring
    ON CONFLICT (merchant_id, key, path, method) DO UPDATE SET
        fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body,
        resource_id = excluded.resource_id, created_at = excluded.created_at, expires_at = excluded.expires_at
    WHERE k.expires_at <= now()
"""
"""Keeps ``:rows`` of ``record`` for ``:life``; also a part of a larger statement. A key that is taken is not kept."""

_KEEP = text(KEEP)
_KEPT = text("""
    SELECT fingerprint, status, body FROM idempotency_records
    WHERE merchant_id = :merchant_id AND method = :method AND path = :path AND key = :key AND expires_at > now()
""")


async def known_answer(connection: AsyncConnection, merchant_id: str, key: Key) -> Stored | None:
    """The answer that ``key`` was given before, if it was. Raises ``IdempotencyKeyReused``."""
    found = (await connection.execute(_KEPT, {**key.row(), "merchant_id": merchant_id})).mappings().one_or_none()
    return replay(key, found["fingerprint"], found["status"], found["body"]) if found else None


async def keep_in(connection: AsyncConnection, merchant_id: str, key: Key, stored: Stored) -> None:
    """Keep ``stored`` as the answer to ``key``, in the transaction of what it answers for.

    Raises ``IdempotencyKeyInUse`` where another request with this key was quicker: this transaction is then undone, and
    the next try with the key finds the answer of the other.
    """
    await keep_all_in(connection, [record(merchant_id, key, stored)])


async def keep_all_in(connection: AsyncConnection, records: Sequence[dict[str, Any]]) -> None:
    """``keep_in`` for a group: the rows of ``record``, in one statement. Raises ``IdempotencyKeyInUse`` if one is taken."""
    if await _keep(connection, records) < len(records):
        raise IdempotencyKeyInUse(retry_after_seconds=1)


async def keep_answer(caller: Caller, key: Key, *, merchant_id: str, status: int, body: bytes) -> Stored:
    """Keep an answer that wrote no row of its own (a refusal), or find the one its key was given before.

    ``merchant_id`` is whose it is: the caller's, or where the caller stands above the merchants that of the request.

    Raises ``IdempotencyKeyReused``, and what ``caller_transaction`` raises.
    """
    stored = Stored(status, body, is_replay=False)
    async with caller_transaction(caller) as connection:
        if await _keep(connection, [record(merchant_id, key, stored)]):
            return stored
        return await known_answer(connection, merchant_id, key) or stored


def record(merchant_id: str, key: Key, stored: Stored) -> dict[str, Any]:
    """The row of ``idempotency_records`` that keeps ``stored``, without its instants."""
    answer = {"status": stored.status, "body": stored.body.decode(), "resource_id": stored.resource_id}
    return {**key.row(), **answer, "merchant_id": merchant_id}


async def _keep(connection: AsyncConnection, records: Sequence[dict[str, Any]]) -> int:
    return (await connection.execute(_KEEP, {"rows": rows_parameter(list(records)), "life": KEY_LIFE})).rowcount
