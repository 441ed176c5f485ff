"""Idempotency: the same key and the same body get the same answer again, byte for byte, for 24 hours.

A record is written in the transaction of what it answers for, so there is never one without the other. What is compared
is a keyed hash of the body, so that a body with a secret in it cannot be guessed from the table.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from workflows.errors import IdempotencyKeyReused
from workflows.tenants.caller import Caller, caller_transaction

KEY_LIFE = timedelta(hours=24)
"""The replay window (behaviour §6). ``client_reference`` is the guard that lasts for ever."""


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


_KEEP = text("""
    INSERT INTO idempotency_records (merchant_id, method, path, key, fingerprint, status, body, created_at, expires_at)
    VALUES (:merchant_id, :method, :path, :key, :fingerprint, :status, :body, now(), now() + :life)
    ON CONFLICT DO NOTHING
""")
_KEPT = text("""
    SELECT fingerprint, status, body FROM idempotency_records
    WHERE merchant_id = :merchant_id AND method = :method AND path = :path AND key = :key AND expires_at > now()
""")


async def keep_answer(caller: Caller, key: Key, *, status: int, body: bytes) -> Stored:
    """Keep an answer that wrote no row of its own (a refusal), or find the one its key was given before.

    Raises ``IdempotencyKeyReused``, and what ``caller_transaction`` raises.
    """
    row = {**key.row(), "merchant_id": caller.merchant_id}
    async with caller_transaction(caller) as connection:
        kept = await connection.execute(_KEEP, {**row, "status": status, "body": body.decode(), "life": KEY_LIFE})
        if kept.rowcount:
            return Stored(status, body, is_replay=False)
        found = (await connection.execute(_KEPT, row)).mappings().one_or_none()
    if found is None:
        return Stored(status, body, is_replay=False)
    return replay(key, found["fingerprint"], found["status"], found["body"])
