"""Reserve the amounts of new payments on their bills, before any provider is called.

``paid + reserved + amount ≤ total`` is checked under the bill's lock for each payment in turn: of 200 concurrent payments
for a bill of 20 shares, exactly 20 are accepted. A reservation ends with its payment (``apply_payments``,
``release_reservations``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.balance import reserve_amount
from workflows.bills.lock import WRITE_RESERVED, LockedBill, Share, lock_bills, write_bills
from workflows.errors import Detail, DomainError, InvalidRequest, ResourceNotFound

_ORDERS = text("""
    -- orders: of each bill; they never change, so they need no lock
    SELECT bill_id, array_agg(order_id) AS order_ids FROM bill_orders WHERE bill_id = ANY(:ids) GROUP BY bill_id
""")


@dataclass(frozen=True, slots=True)
class Reservation:
    """The reservation that a new payment requests; ``share.amount`` is without its tip."""

    share: Share
    store_id: str
    currency: str


@dataclass(frozen=True, slots=True)
class Reserved:
    """A reservation that was made; ``order_id`` is the bill's order, ``None`` if the bill is for several."""

    order_id: str | None


async def reserve(connection: AsyncConnection, wanted: Sequence[Reservation]) -> list[Reserved | DomainError]:
    """Make each reservation that the balances allow, and return the results in sequence. Three statements.

    Errors are returned, not raised, so that one payment of a group does not roll back the others: ``ResourceNotFound``
    (no such bill in this store), ``InvalidRequest`` (another currency), ``InvalidStatusTransition`` (voided),
    ``BalanceUnavailable`` (with the balance). May run as ``mpac_accept``.
    """
    bills = await lock_bills(connection, (each.share.bill_id for each in wanted))
    if not bills:
        return [_missing() for _ in wanted]
    results = [_take(bills.get(each.share.bill_id), each) for each in wanted]
    await write_bills(connection, WRITE_RESERVED, bills.values())
    found = await connection.execute(_ORDERS, {"ids": list(bills)})
    orders: dict[str, list[str]] = {row.bill_id: row.order_ids for row in found}
    return [error or Reserved(_only(orders[each.share.bill_id])) for each, error in zip(wanted, results, strict=True)]


def _take(bill: LockedBill | None, wanted: Reservation) -> DomainError | None:
    try:
        if bill is None or bill.row["store_id"] != wanted.store_id:
            return _missing()
        if bill.row["currency"] != wanted.currency:
            return InvalidRequest(Detail("currency", f"Must be {bill.row['currency']}, the bill's currency"))
        bill.take(reserve_amount(bill.balance, wanted.share.amount), wanted.share)
    except DomainError as error:
        return error
    return None


def _missing() -> ResourceNotFound:
    return ResourceNotFound(Detail("bill_id", "There is no such bill in this store"))


def _only(order_ids: list[str]) -> str | None:
    return order_ids[0] if len(order_ids) == 1 else None
