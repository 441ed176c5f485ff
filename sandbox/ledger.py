"""The ledger: an append-only table of every movement of money that the sandbox made.

Amounts are positive, and ``kind`` gives the direction. The product is audited against this table, not against the operations.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from sandbox.sqlite_storage import SqliteStorage
from sandbox.timestamps import to_text


class MovementKind(StrEnum):
    CHARGE = "charge"  # customer → merchant
    REFUND = "refund"  # merchant → customer
    REVERSAL = "reversal"  # a charge undone, fee included


class Movement(NamedTuple):
    """One row of the ledger, in the order of its columns."""

    seq: int
    kind: str
    reference: str
    payment_id: str
    provider_reference: str
    amount: int
    currency: str
    fee: int
    at: int
    account: str  # the account whose statement lists the movement; empty if the caller named none


COLUMNS = ", ".join(Movement._fields)
INSERT = (
    "INSERT INTO movements (kind, reference, payment_id, provider_reference, amount, currency, fee, at, account)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
OF_PAYMENT = f"SELECT {COLUMNS} FROM movements WHERE payment_id = ? ORDER BY seq"
PAGE = f"SELECT {COLUMNS} FROM movements WHERE seq > ? ORDER BY seq LIMIT ?"
PERIOD = (
    f"SELECT {COLUMNS} FROM movements WHERE at >= ?1 AND at < ?2 AND seq > ?3"
    " AND (?5 IS NULL OR account = ?5) ORDER BY seq LIMIT ?4"
)


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and the cursor for the next page. ``next_after`` is None on the last page."""

    rows: list[Movement]
    next_after: int | None


def record(storage: SqliteStorage, movement: tuple[str, str, str, str, int, str, int, int, str]) -> None:
    """Append a movement: the columns of ``Movement`` without ``seq``."""
    storage.write(INSERT, movement)


def of_payment(storage: SqliteStorage, payment_id: str) -> list[Movement]:
    """Return all movements of one payment, oldest first."""
    return [Movement._make(row) for row in storage.query(OF_PAYMENT, (payment_id,))]


def page(storage: SqliteStorage, *, after: int, limit: int) -> Page:
    """Return up to ``limit`` movements whose ``seq`` is greater than ``after``."""
    return _page(storage.query(PAGE, (after, limit + 1)), limit=limit)


def period(storage: SqliteStorage, *, start: int, end: int, after: int, limit: int, account: str | None = None) -> Page:
    """Return a page of the movements in ``[start, end)`` of ``account``, or of all accounts.

    ``after`` is as in ``page``.
    """
    return _page(storage.query(PERIOD, (start, end, after, limit + 1, account)), limit=limit)


def serialize_movement(movement: Movement) -> dict[str, Any]:
    """Return a ledger row as the control routes show it."""
    return {"seq": movement.seq, **money_fields(movement)}


def money_fields(movement: Movement) -> dict[str, Any]:
    """Return the fields of a ledger row that control routes and statements both show."""
    return {
        "kind": movement.kind,
        "reference": movement.reference,
        "payment_id": movement.payment_id,
        "provider_reference": movement.provider_reference,
        "amount": movement.amount,
        "currency": movement.currency,
        "fee": movement.fee,
        "at": to_text(movement.at),
    }


def _page(rows: list[tuple[Any, ...]], *, limit: int) -> Page:
    # One row more than requested was read. If it exists, there is a next page.
    found = [Movement._make(row) for row in rows[:limit]]
    return Page(rows=found, next_after=found[-1].seq if len(rows) > limit else None)
