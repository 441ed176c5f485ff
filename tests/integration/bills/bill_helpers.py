"""Create bills over HTTP, and pay them through the functions that the payment path calls."""

from collections.abc import Sequence
from typing import Any

import psycopg
import uuid_utils
from psycopg.rows import DictRow

from tests.factories import Tenant
from tests.harness import Answer, Api
from workflows.bills.apply_payments import (
    Reservation,
    ReservationResult,
    apply_payments,
    apply_refunds,
    release_reservations,
    reserve,
)
from workflows.bills.lock import BillAmount
from workflows.clock import now
from workflows.database.engines import Role, transaction
from workflows.errors import DomainError
from workflows.ids import new_id
from workflows.transitions import ChangeContext

AMOUNTS = ("subtotal", "tax_amount", "discount_amount", "total_amount")
Admin = psycopg.AsyncConnection[DictRow]


async def post_bill(api: Api, as_: Tenant | str, order_id: str, *, key: str | None = None) -> Answer:
    """Send POST /bills."""
    return await api.post("/bills", {"order_id": order_id}, as_=as_, key=key or uuid_utils.uuid7().hex)


async def combine(api: Api, as_: Tenant | str, *order_ids: str) -> Answer:
    """Send POST /bills/combine."""
    return await api.post("/bills/combine", {"order_ids": order_ids}, as_=as_, key=uuid_utils.uuid7().hex)


async def split(api: Api, as_: Tenant | str, bill_id: str, *, key: str | None = None, **how: Any) -> Answer:
    """Send POST /bills/{id}/split."""
    return await api.post(f"/bills/{bill_id}/split", how, as_=as_, key=key or uuid_utils.uuid7().hex)


async def bill_of(api: Api, as_: Tenant | str, order_id: str) -> dict[str, Any]:
    """Create a bill for an order."""
    answer = await post_bill(api, as_, order_id)
    assert answer.status == 201, answer.body
    body: dict[str, Any] = answer.body
    return body


async def read(api: Api, as_: Tenant | str, bill_id: str) -> dict[str, Any]:
    """Return the bill as the API shows it."""
    body: dict[str, Any] = (await api.get(f"/bills/{bill_id}", as_=as_)).body
    return body


def share(bill_id: str, amount: int, *, cause_id: str | None = None) -> BillAmount:
    """Return the share of a new payment in a bill."""
    return BillAmount(
        bill_id, cause_id or new_id("payment"), amount, ChangeContext("worker", "worker-of-the-test", now())
    )


async def reserve_shares(
    tenant: Tenant, shares: Sequence[BillAmount], *, currency: str = "JPY"
) -> list[ReservationResult | DomainError]:
    """Reserve shares as the intake of payments does for one group."""
    async with transaction(Role.ACCEPT) as connection:
        return await reserve(connection, [Reservation(each, tenant.store_id, currency) for each in shares])


async def hold(tenant: Tenant, bill_id: str, amount: int) -> BillAmount:
    """Reserve ``amount`` of a bill, which must succeed."""
    mine = share(bill_id, amount)
    (result,) = await reserve_shares(tenant, [mine])
    assert isinstance(result, ReservationResult), result
    return mine


async def pay_shares(*shares: BillAmount) -> list[str]:
    """Apply completed payments as a worker does, and return the ids of orders that became paid."""
    async with transaction(Role.WORKER) as connection:
        return await apply_payments(connection, shares)


async def release_shares(*shares: BillAmount) -> None:
    """Release reservations as a worker does after failed payments."""
    async with transaction(Role.WORKER) as connection:
        await release_reservations(connection, shares)


async def refund_shares(*shares: BillAmount) -> None:
    """Apply completed refunds as a worker does."""
    async with transaction(Role.WORKER) as connection:
        await apply_refunds(connection, shares)


async def pay_whole(tenant: Tenant, bill: dict[str, Any]) -> list[str]:
    """Pay the whole bill."""
    return await pay_shares(await hold(tenant, bill["id"], bill["total_amount"]))


async def history(admin: Admin, bill_id: str) -> list[tuple[str, str | None, str]]:
    """Return the bill's history as (event, from, to)."""
    rows = await admin.execute("SELECT * FROM bill_history WHERE bill_id = %s ORDER BY version", [bill_id])
    found = await rows.fetchall()
    assert [row["version"] for row in found] == list(range(1, len(found) + 1))
    assert [row["at"] for row in found] == sorted(row["at"] for row in found)
    return [(row["event"], row["from_status"], row["to_status"]) for row in found]


async def order_status(api: Api, tenant: Tenant, order_id: str) -> str:
    """Return the order's status as the API shows it."""
    status: str = (await api.get(f"/orders/{order_id}", as_=tenant)).body["status"]
    return status
