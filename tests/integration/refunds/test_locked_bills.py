"""While one bill is locked, payments and refunds of other bills continue, even in the same group.

The lock timeout is longer than any wait of these tests (``tests.conftest.GENEROUS_TIMEOUTS``), so a row that
waited for the bill would fail its test.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from mpac.stack.local_stack import LocalStack
from tests.factories import CASH, QR
from tests.harness import Api
from tests.integration.bills.bill_helpers import split
from tests.integration.payments.evidence import all_of
from tests.integration.refunds.refund_helpers import Admin, RefundMaker, sums
from tests.integration.refunds.test_update_bills import new_bill
from tests.polling import DEADLINE_SECONDS, eventually, wait_until_blocked_by


@asynccontextmanager
async def locked_bill(stack: LocalStack, bill_id: str) -> AsyncIterator[None]:
    """Hold a lock on the bill's row, from another transaction, for the duration of the block."""
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as foreign:
        await foreign.execute("SELECT FROM bills WHERE id = %s FOR UPDATE", [bill_id])
        yield


async def statuses(admin: Admin, table: str, ids: list[str]) -> list[str]:
    rows = await all_of(admin, f"SELECT id, status FROM {table} WHERE id = ANY(%s)".encode(), ids)
    found = {row["id"]: row["status"] for row in rows}
    return [found[row_id] for row_id in ids]


async def test_answers_for_other_bills_of_the_same_group_are_recorded(
    api: Api, refunds: RefundMaker, stack: LocalStack, admin: Admin
) -> None:
    bill = await new_bill(api, refunds, 1_000)
    locked, free = (await split(api, refunds.tenant, bill["id"], parts=2)).body["data"]
    stuck = await refunds.payments.pending(CASH, amount=500, bill_id=locked["id"])
    others = [
        await refunds.payments.pending(CASH, amount=500, bill_id=free["id"]),
        *[await refunds.payments.pending(CASH) for _ in range(3)],
    ]
    async with locked_bill(stack, locked["id"]):
        working = asyncio.ensure_future(refunds.payments.process(stuck, *others))
        await eventually(
            lambda: statuses(admin, "payments", others),
            until=lambda seen: seen == ["completed"] * 4,
        )
        assert await statuses(admin, "payments", [stuck]) == ["processing"]
    await working
    assert await statuses(admin, "payments", [stuck]) == ["completed"]
    assert (await api.get(f"/bills/{locked['id']}", as_=refunds.tenant)).body["status"] == "paid"


async def test_refunds_of_other_bills_in_the_same_message_are_recorded(
    api: Api, refunds: RefundMaker, stack: LocalStack, admin: Admin
) -> None:
    bills = [await new_bill(api, refunds, 1_000) for _ in range(3)]
    asked = [await refunds.pending(await refunds.paid(CASH, bill_id=bill["id"])) for bill in bills]
    async with locked_bill(stack, bills[0]["id"]):
        working = asyncio.ensure_future(refunds.process(*asked))
        await eventually(
            lambda: statuses(admin, "refunds", asked[1:]),
            until=lambda seen: seen == ["completed"] * 2,
        )
        assert await statuses(admin, "refunds", asked[:1]) == ["processing"]
    await working
    assert await statuses(admin, "refunds", asked) == ["completed"] * 3


async def test_many_locked_bills_delay_no_other_payment(
    api: Api, refunds: RefundMaker, stack: LocalStack, admin: Admin
) -> None:
    """More bills are locked (4) than groups are recorded concurrently (2).

    A payment without a bill still completes.
    """
    bills = [await new_bill(api, refunds, 1_000) for _ in range(4)]
    stuck = [await refunds.payments.pending(CASH, bill_id=bill["id"]) for bill in bills]
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as foreign:
        await foreign.execute("SELECT FROM bills WHERE id = ANY(%s) FOR UPDATE", [[bill["id"] for bill in bills]])
        working = [asyncio.ensure_future(refunds.payments.process(payment_id)) for payment_id in stuck]
        async with asyncio.timeout(DEADLINE_SECONDS):
            paid = await refunds.paid(CASH)
        await eventually(  # the four claims run concurrently with the payment
            lambda: statuses(admin, "payments", [paid, *stuck]),
            until=lambda seen: seen == ["completed"] + ["processing"] * 4,
        )
    await asyncio.gather(*working)
    assert await statuses(admin, "payments", stuck) == ["completed"] * 4


async def test_locked_bill_delays_no_other_payment(
    api: Api, refunds: RefundMaker, stack: LocalStack, admin: Admin
) -> None:
    """Payments of another bill or of no bill are accepted and completed while one bill is locked."""
    bill = await new_bill(api, refunds, 1_000)
    locked, free = (await split(api, refunds.tenant, bill["id"], parts=2)).body["data"]
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as foreign:
        await foreign.execute("SELECT FROM bills WHERE id = %s FOR UPDATE", [locked["id"]])
        stuck = asyncio.ensure_future(api.pay(refunds.tenant, amount=500, bill_id=locked["id"]))
        await wait_until_blocked_by(foreign, seen_by=admin)
        async with asyncio.timeout(DEADLINE_SECONDS):
            answers = await asyncio.gather(
                api.pay(refunds.tenant, amount=500, bill_id=free["id"]), *(api.pay(refunds.tenant) for _ in range(5))
            )
            assert [answer.status for answer in answers] == [201] * 6
            await refunds.payments.process(*(answer.body["id"] for answer in answers))
            paid = await refunds.paid(QR)
            await refunds.refunded(paid)
        assert not stuck.done()
    assert (await stuck).status == 201


async def test_refund_with_a_locked_bill_delays_no_other_refund(
    api: Api, refunds: RefundMaker, stack: LocalStack, admin: Admin
) -> None:
    bill = await new_bill(api, refunds, 1_000)
    mine, others = await refunds.paid(QR, bill_id=bill["id"]), await refunds.paid(QR)
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as foreign:
        await foreign.execute("SELECT FROM bills WHERE id = %s FOR UPDATE", [bill["id"]])
        stuck = asyncio.ensure_future(refunds.refunded(mine))
        await wait_until_blocked_by(foreign, seen_by=admin)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await refunds.refunded(others)
        assert await sums(admin, others) == ("refunded", 1_000, 1_000)
        assert not stuck.done() or await sums(admin, mine) == ("completed", 1_000, 0)
    await stuck
    await asyncio.wait_for(refunds.processor.drain(5), 10)
    assert await sums(admin, mine) == ("refunded", 1_000, 1_000)
    rows = await all_of(admin, b"SELECT count(*) AS n FROM bill_history WHERE bill_id = %s", bill["id"])
    assert rows[0]["n"] == 4
