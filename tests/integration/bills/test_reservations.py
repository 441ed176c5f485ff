"""Payments reserve, pay, release and refund shares of a bill, concurrently and in any order."""

import asyncio
import operator
import random
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg
import pytest

from tests.factories import CASH, Tenant, submission
from tests.harness import Api
from tests.integration.bills.bill_helpers import (
    Admin,
    bill_of,
    history,
    hold,
    pay_shares,
    read,
    refund_shares,
    release_shares,
    reserve_shares,
    share,
    split,
)
from tests.integration.orders.order_helpers import RAMEN, open_order
from tests.polling import DEADLINE_SECONDS, eventually
from workflows.bills.apply_payments import ReservationResult, release_reservations
from workflows.bills.lock import lock_bills
from workflows.database.engines import Role, transaction
from workflows.errors import BalanceUnavailable, InvalidRequest, InvalidStatusTransition, ResourceNotFound
from workflows.payments.accept import PaymentIntake
from workflows.tenants.caller import caller_transaction


async def new_bill(api: Api, tenant: Tenant, total: int, **order: Any) -> dict[str, Any]:
    item = {**RAMEN, "quantity": 1, "unit_price": total, "tax_rate": "0"}
    return await bill_of(api, tenant, (await open_order(api, tenant, items=[item], **order))["id"])


async def test_200_concurrent_reservations_on_a_bill_of_20_shares_are_20(
    api: Api, tenant: Tenant, admin: Admin
) -> None:
    bill = await new_bill(api, tenant, 20 * 50)
    results = await asyncio.gather(
        *(reserve_shares(tenant, [share(bill["id"], 50) for _ in range(size)]) for size in [1] * 100 + [10] * 10)
    )
    outcomes = [result for group in results for result in group]
    assert len(outcomes) == 200
    assert sum(isinstance(outcome, ReservationResult) for outcome in outcomes) == 20
    refused = [outcome for outcome in outcomes if isinstance(outcome, BalanceUnavailable)]
    assert len(refused) == 180
    assert {detail.issue for error in refused for detail in error.details if detail.field == "balance_amount"} == {"0"}
    now = await read(api, tenant, bill["id"])
    assert (now["reserved_amount"], now["balance_amount"], now["version"]) == (1000, 0, 21)
    assert len(await history(admin, bill["id"])) == 21


async def test_200_concurrent_payments_over_http_on_a_bill_of_20_shares_are_20(
    api: Api, tenant: Tenant, admin: Admin
) -> None:
    bill = await new_bill(api, tenant, 20 * 50)
    answers = await asyncio.gather(*(api.pay(tenant, amount=50, bill_id=bill["id"]) for _ in range(200)))
    assert sorted(answer.status for answer in answers) == [201] * 20 + [409] * 180
    refused = [answer for answer in answers if answer.status == 409]
    assert {answer.code for answer in refused} == {"BALANCE_UNAVAILABLE"}
    for answer in refused:
        told = {detail["field"]: detail["issue"] for detail in answer.details}
        assert int(told["balance_amount"]) + int(told["reserved_amount"]) == 1_000
    assert (await read(api, tenant, bill["id"]))["reserved_amount"] == 1_000
    rows = await admin.execute("SELECT count(*) AS n FROM payments WHERE bill_id = %s", [bill["id"]])
    assert await rows.fetchone() == {"n": 20}


async def test_refused_reservation_does_not_affect_the_rest_of_its_group(
    api: Api, tenant: Tenant, make_tenant: Any
) -> None:
    yen, dollars = await new_bill(api, tenant, 100), await new_bill(api, tenant, 100, currency="USD")
    voided = await new_bill(api, tenant, 100)
    await api.post(f"/bills/{voided['id']}/void", as_=tenant)
    stranger = await make_tenant()
    strange = await new_bill(api, stranger, 100)
    wanted = [
        share(yen["id"], 60),
        share(yen["id"], 41),
        share(dollars["id"], 1),
        share(voided["id"], 1),
        share(strange["id"], 1),
        share("bil_none", 1),
        share(yen["id"], 40),
    ]
    results = await reserve_shares(tenant, wanted)
    kinds = [
        ReservationResult,
        BalanceUnavailable,
        InvalidRequest,
        InvalidStatusTransition,
        ResourceNotFound,
        ResourceNotFound,
    ]
    assert [type(result) for result in results] == [*kinds, ReservationResult]
    assert results[0] == ReservationResult(order_id=yen["order_ids"][0])
    assert (await read(api, tenant, yen["id"]))["reserved_amount"] == 100
    assert (await read(api, stranger, strange["id"]))["reserved_amount"] == 0


async def test_a_reservation_ends_with_its_payment(api: Api, tenant: Tenant, admin: Admin) -> None:
    bill = await new_bill(api, tenant, 100)
    first, second, third = [await hold(tenant, bill["id"], amount) for amount in (30, 30, 40)]
    await release_shares(second)
    assert (await read(api, tenant, bill["id"]))["balance_amount"] == 30
    fourth = await hold(tenant, bill["id"], 30)
    assert await pay_shares(first, third) == []
    assert (await read(api, tenant, bill["id"]))["status"] == "partially_paid"
    assert await pay_shares(fourth) == bill["order_ids"]
    assert [event for event, _, _ in await history(admin, bill["id"])] == [
        "create",
        *["reserve"] * 3,
        "release",
        "reserve",
        "pay_part",
        "pay_more",
        "pay_whole",
    ]
    (refused,) = await reserve_shares(tenant, [share(bill["id"], 1)])
    assert isinstance(refused, BalanceUnavailable)


async def test_payments_of_one_group_can_pay_a_bill_in_full(api: Api, tenant: Tenant, admin: Admin) -> None:
    bill = await new_bill(api, tenant, 100)
    shares = [await hold(tenant, bill["id"], 50) for _ in range(2)]
    assert await pay_shares(*shares) == bill["order_ids"]
    assert (await history(admin, bill["id"]))[-2:] == [
        ("pay_part", "unpaid", "partially_paid"),
        ("pay_whole", "partially_paid", "paid"),
    ]


async def test_cancel_by_a_caller_releases_the_reservation_with_the_callers_rights(api: Api, tenant: Tenant) -> None:
    bill = await new_bill(api, tenant, 100)
    held = await hold(tenant, bill["id"], 70)
    async with caller_transaction(tenant.device) as connection:
        await release_reservations(connection, [held])
    assert (await read(api, tenant, bill["id"]))["balance_amount"] == 100


async def test_parts_paid_concurrently_pay_their_order_once(api: Api, tenant: Tenant, admin: Admin) -> None:
    for _ in range(5):
        bill = await new_bill(api, tenant, 120)
        parts = (await split(api, tenant, bill["id"], parts=12)).body["data"]
        held = [await hold(tenant, part["id"], 10) for part in parts]
        paid = await asyncio.gather(*(pay_shares(each) for each in held))
        assert [order_id for orders in paid for order_id in orders] == bill["order_ids"]


async def test_locked_bill_does_not_delay_other_bills(api: Api, tenant: Tenant, stack: Any) -> None:
    bill = await new_bill(api, tenant, 100)
    locked, free = (await split(api, tenant, bill["id"], parts=2)).body["data"]
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as other:
        await other.execute("SELECT FROM bills WHERE id = %s FOR UPDATE", [locked["id"]])
        async with asyncio.timeout(DEADLINE_SECONDS):  # a sixth of the lock timeout of these tests
            assert await pay_shares(await hold(tenant, free["id"], 50)) == []
    assert await pay_shares(await hold(tenant, locked["id"], 50)) == bill["order_ids"]


async def test_groups_that_share_bills_never_deadlock(api: Api, tenant: Tenant) -> None:
    bills = [await new_bill(api, tenant, 10_000) for _ in range(4)]
    dice = random.Random(7)

    async def one_group() -> None:
        shares = [share(bill["id"], 5) for bill in dice.sample(bills, 3)]
        assert all(isinstance(result, ReservationResult) for result in await reserve_shares(tenant, shares))
        dice.shuffle(shares)
        await pay_shares(*shares[:2])
        await release_shares(*shares[2:])
        await refund_shares(*[share(each.bill_id, 5) for each in shares[:1]])

    await asyncio.gather(*(one_group() for _ in range(40)))
    now = [await read(api, tenant, bill["id"]) for bill in bills]
    assert sum(bill["paid_amount"] for bill in now) == 40 * 5
    assert sum(bill["reserved_amount"] for bill in now) == 0


BEYOND = {
    Role.ACCEPT: ["paid_amount = 1", "status = 'paid'"],
    Role.CALLER: ["paid_amount = 1", "total_amount = 1"],
    Role.WORKER: ["total_amount = 1"],
    Role.SWEEP: ["version = 9"],
}


@pytest.mark.parametrize("role", BEYOND)
async def test_database_role_cannot_change_other_columns_of_a_bill(
    api: Api, tenant: Tenant, admin: Admin, role: Role
) -> None:
    bill = await new_bill(api, tenant, 100)
    for changes in BEYOND[role]:
        async with admin.transaction(force_rollback=True):
            await admin.execute(f"SET LOCAL ROLE {role}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await admin.execute(f"UPDATE bills SET {changes} WHERE id = %s", [bill["id"]])


@pytest.mark.parametrize(
    "changes",
    [
        "status = 'paid', paid_amount = 99, paid_at = now()",
        "status = 'partially_paid'",
        "status = 'partially_paid', paid_amount = 100",
        "paid_amount = 1",
        "reserved_amount = 101",
        "reserved_amount = -1",
        "refunded_amount = 1",
        "tax_amount = 1",
    ],
)
async def test_database_refuses_amounts_that_contradict_the_status(
    api: Api, tenant: Tenant, admin: Admin, changes: str
) -> None:
    bill = await new_bill(api, tenant, 100)
    with pytest.raises(psycopg.errors.CheckViolation):
        await admin.execute(f"UPDATE bills SET version = version + 1, {changes} WHERE id = %s", [bill["id"]])


async def test_a_second_lock_of_a_bill_in_the_transaction_returns_the_same_row(api: Api, tenant: Tenant) -> None:
    bill = await new_bill(api, tenant, 100)
    async with transaction(Role.WORKER) as connection:
        first = await lock_bills(connection, [bill["id"], "bil_none"])
        assert list(first) == [bill["id"]]
        assert (await lock_bills(connection, [bill["id"]]))[bill["id"]].row == first[bill["id"]].row
        assert await lock_bills(connection, []) == {}


async def test_a_key_that_was_used_while_its_request_waited_for_the_bill_is_not_used_again(
    api: Api, tenant: Tenant, stack: Any, admin: Admin
) -> None:
    bill = await new_bill(api, tenant, 100)
    request = replace(CASH, amount=100, bill_id=bill["id"])
    intakes = [PaymentIntake(nudge_grace_seconds=5, timeout_seconds=60) for _ in range(2)]  # of two processes
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as other:
        await other.execute("SELECT FROM bills WHERE id = %s FOR UPDATE", [bill["id"]])
        submitted = []
        for number, intake in enumerate(intakes, start=1):
            asked = submission(request, tenant.device, key="k-1", body=b"body %d" % number)
            submitted.append(asyncio.create_task(intake.accept_payment(asked)))
            await eventually(partial(waiting_for_locks, admin), until=partial(operator.le, number), within=60)
        await other.rollback()
    results = await asyncio.gather(*submitted, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["IdempotencyKeyReused", "StoredAnswer"]
    assert (await read(api, tenant, bill["id"]))["reserved_amount"] == 100


async def waiting_for_locks(admin: Admin) -> int:
    """Return the number of connections to this database that wait for a lock."""
    found = await admin.execute(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    row = await found.fetchone()
    assert row is not None
    return int(row["n"])
