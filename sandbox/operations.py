"""Operations: a table of requested charges, codes and refunds with their status, by the caller's reference.

The ledger says what money moved, and this table says what to answer when a reference is sent again. Charges and codes share
one namespace of references, because inquiries about both go to ``/v1/charges``. Refunds have a separate namespace.
"""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple

from sandbox.sqlite_storage import SqliteStorage


class Family(StrEnum):
    CHARGE = "charge"
    REFUND = "refund"


class Status(StrEnum):
    WAITING = "waiting"  # a code that nobody has paid yet
    PENDING = "pending"  # accepted; the outcome comes at due_at
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    CANCELLED = "cancelled"  # nothing moved, and nothing ever will
    EXPIRED = "expired"  # a code that nobody paid in time
    REVERSED = "reversed"  # the money had moved, and was returned


class Operation(NamedTuple):
    """One row, in the order of its columns. ``amount`` is the amount to move, less than requested with ``partial``."""

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
"""Letters for the digits of references: with digits, some would look like card numbers and be refused."""

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
    " WHERE charge_reference = ? AND status IN ('pending', 'succeeded')"  # a pending refund has reserved its amount
)


@dataclass(frozen=True, slots=True)
class DueOperation:
    """An operation that gets its outcome at the time ``at``."""

    reference: str
    family: Family
    at: int


def find(storage: SqliteStorage, reference: str, *, family: Family) -> Operation | None:
    """Return the operation of this reference, if there is one."""
    rows = storage.query(FIND, (reference, family))
    return Operation._make(rows[0]) if rows else None


def insert(storage: SqliteStorage, operation: Operation) -> None:
    """Store a new operation."""
    storage.write(INSERT, operation)


def update(storage: SqliteStorage, operation: Operation) -> None:
    """Write the columns of an operation that can change."""
    changed = (operation.status, operation.amount, operation.fee, operation.decline_code, operation.due_at)
    storage.write(UPDATE, (*changed, operation.reference, operation.family))


def all_due(storage: SqliteStorage) -> list[DueOperation]:
    """Return all operations that have a due time."""
    return [DueOperation(reference, Family(family), at) for reference, family, at in storage.query(DUE)]


def refunded_amount(storage: SqliteStorage, charge_reference: str) -> int:
    """Return the amount of a charge that was refunded or is being refunded."""
    total: int = storage.query(REFUNDED, (charge_reference,))[0][0]
    return total


def provider_reference(reference: str, *, family: Family, copy: int = 0) -> str:
    """Return the sandbox's own reference of an operation.

    It is a hash of the arguments, so that a repeated run gives the same references.
    """
    digest = blake2b(f"{family}:{reference}#{copy}".encode(), digest_size=12).hexdigest()
    return "sbx_" + digest.translate(LETTERS)


def common_fields(operation: Operation) -> dict[str, Any]:
    """Return the fields that every answer about an operation has."""
    return {
        "status": operation.status,
        "reference": operation.reference,
        "provider_reference": operation.provider_reference,
        "payment_id": operation.payment_id,
        "amount": operation.amount,
        "currency": operation.currency,
        "fee": operation.fee,
    }
