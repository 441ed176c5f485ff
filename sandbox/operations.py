"""Operations: what the sandbox was asked to do, by the caller's reference, and how it ended.

The ledger says what money moved; this table says what to answer when a reference is heard again. Charges and codes
share one family of references because both are asked about under ``/v1/charges``; refunds have their own.
"""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple

from sandbox.store import Store


class Family(StrEnum):
    CHARGE = "charge"
    REFUND = "refund"


class Status(StrEnum):
    WAITING = "waiting"  # a code nobody has paid yet
    PENDING = "pending"  # accepted; the outcome comes at due_at
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    CANCELLED = "cancelled"  # nothing moved, and nothing ever will
    EXPIRED = "expired"  # a code nobody paid in time
    REVERSED = "reversed"  # it had moved, and was undone


class Operation(NamedTuple):
    """One row, in the order of its columns. ``amount`` is what moves, which ``partial`` makes less than was asked."""

    reference: str
    family: str
    kind: str  # card, qr_cpm, qr_mpm, refund
    status: str
    payment_id: str
    amount: int
    currency: str
    fee: int
    provider_reference: str
    token: str
    fate: str
    decline_code: str
    charge_reference: str | None
    fingerprint: bytes | None
    created_at: int
    due_at: int | None
    account: str


LETTERS = str.maketrans("0123456789", "ghijklmnop")
"""References have no digits: by chance, some would look like card numbers and be refused."""

COLUMNS = ", ".join(Operation._fields)
INSERT = f"INSERT INTO operations ({COLUMNS}) VALUES ({', '.join('?' * len(Operation._fields))})"
FIND = f"SELECT {COLUMNS} FROM operations WHERE reference = ? AND family = ?"
UPDATE = (
    "UPDATE operations SET status = ?, amount = ?, fee = ?, decline_code = ?, due_at = ?"
    " WHERE reference = ? AND family = ?"
)
DUE = "SELECT reference, family, due_at FROM operations WHERE due_at IS NOT NULL"
REFUNDED = (
    "SELECT coalesce(sum(amount), 0) FROM operations"
    " WHERE charge_reference = ? AND status IN ('pending', 'succeeded')"  # a pending refund has spoken for its money
)


@dataclass(frozen=True, slots=True)
class Due:
    """An operation that has to be looked at again at ``at``."""

    reference: str
    family: Family
    at: int


def find(store: Store, reference: str, *, family: Family) -> Operation | None:
    """What is known of this reference."""
    rows = store.query(FIND, (reference, family))
    return Operation._make(rows[0]) if rows else None


def insert(store: Store, operation: Operation) -> None:
    """Remember an operation for the first time."""
    store.write(INSERT, operation)


def update(store: Store, operation: Operation) -> None:
    """Remember what became of an operation; only the columns that can change are written."""
    changed = (operation.status, operation.amount, operation.fee, operation.decline_code, operation.due_at)
    store.write(UPDATE, (*changed, operation.reference, operation.family))


def all_due(store: Store) -> list[Due]:
    """Everything that waits for an instant, for a sandbox that has just started."""
    return [Due(reference, Family(family), at) for reference, family, at in store.query(DUE)]


def refunded_amount(store: Store, charge_reference: str) -> int:
    """What has been or is being given back of a charge."""
    total: int = store.query(REFUNDED, (charge_reference,))[0][0]
    return total


def provider_reference(reference: str, *, family: Family, copy: int = 0) -> str:
    """Our own name for an operation: derived, so that a repeated run names everything alike."""
    digest = blake2b(f"{family}:{reference}#{copy}".encode(), digest_size=12).hexdigest()
    return "sbx_" + digest.translate(LETTERS)


def visible(operation: Operation) -> dict[str, Any]:
    """The fields every answer about an operation begins with."""
    return {
        "status": operation.status,
        "reference": operation.reference,
        "provider_reference": operation.provider_reference,
        "payment_id": operation.payment_id,
        "amount": operation.amount,
        "currency": operation.currency,
        "fee": operation.fee,
    }
