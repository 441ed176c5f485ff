"""The ledger: every movement of money the sandbox really made, appended and never changed.

Amounts are positive; ``kind`` says which way the money went. This table, not the operations beside it, is what the
product is judged by.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from sandbox.store import Store
from sandbox.times import to_text


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
    account: str  # whose statement it is on; empty where the caller named none


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
    """Some rows, and where to go on; ``next_after`` is None on the last page."""

    rows: list[Movement]
    next_after: int | None


def record(store: Store, movement: tuple[str, str, str, str, int, str, int, int, str]) -> None:
    """Append a movement: kind, reference, payment, provider's reference, amount, currency, fee, instant, account."""
    store.write(INSERT, movement)


def of_payment(store: Store, payment_id: str) -> list[Movement]:
    """All movements of one payment, oldest first."""
    return [Movement._make(row) for row in store.query(OF_PAYMENT, (payment_id,))]


def page(store: Store, *, after: int, limit: int) -> Page:
    """Up to ``limit`` movements after the one numbered ``after``."""
    return _page(store.query(PAGE, (after, limit + 1)), limit=limit)


def period(store: Store, *, start: int, end: int, after: int, limit: int, account: str | None = None) -> Page:
    """Like ``page``, of the half-open period from ``start`` to ``end``, of one account or of all."""
    return _page(store.query(PERIOD, (start, end, after, limit + 1, account)), limit=limit)


def present(movement: Movement) -> dict[str, Any]:
    """A ledger row as the control routes show it."""
    return {"seq": movement.seq, **facts(movement)}


def facts(movement: Movement) -> dict[str, Any]:
    """What a ledger row says of the money, in every answer alike."""
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
    # One row more than asked for was read: its presence is the proof that there is a next page.
    found = [Movement._make(row) for row in rows[:limit]]
    return Page(rows=found, next_after=found[-1].seq if len(rows) > limit else None)
