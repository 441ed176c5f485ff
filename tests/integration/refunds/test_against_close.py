"""F20: refunds while the day is being closed, again and again: each in exactly one settlement, and never too much."""

import asyncio

from tests.factories import QR
from tests.integration.payments.evidence import all_of
from tests.integration.refunds.refund_helpers import Admin, RefundMaker, sums
from tests.integration.settlements.settlement_helpers import manager_of
from workflows.errors import InvalidRequest, InvalidStatusTransition
from workflows.ids import new_id
from workflows.settlements.close import close_manually
from workflows.settlements.open_periods import open_due_periods

SALES, TRIES, CLOSES = 10, 5, 6


async def close_once(refunds: RefundMaker, admin: Admin) -> None:
    """What a manager does in the evening; two of them at once are one close."""
    query = b"SELECT id FROM settlements WHERE store_id = %s AND status = 'open'"
    (running,) = await all_of(admin, query, refunds.tenant.store_id)
    try:
        await close_manually(running["id"], caller=manager_of(refunds.tenant), request_id=new_id("request"))
    except InvalidStatusTransition:
        return


async def test_refunds_while_the_day_closes_are_each_in_one_settlement(refunds: RefundMaker, admin: Admin) -> None:
    await open_due_periods(worker="worker-of-the-test")
    sold = [await refunds.paid(QR) for _ in range(SALES)]

    async def give_back(payment_id: str) -> int:
        try:
            await refunds.refunded(payment_id, 300)
        except InvalidRequest:
            return 0
        return 1

    async def keep_closing() -> None:
        for _ in range(CLOSES):
            await asyncio.gather(*(close_once(refunds, admin) for _ in range(2)))

    *given, _ = await asyncio.gather(
        *(give_back(payment_id) for payment_id in sold for _ in range(TRIES)), keep_closing()
    )
    assert sum(count for count in given if count) == 3 * SALES
    await asyncio.wait_for(refunds.processor.drain(5), 10)
    await close_once(refunds, admin)
    for payment_id in sold:
        assert await sums(admin, payment_id) == ("refunded", 900, 900)
    lines = await all_of(
        admin,
        b"""SELECT l.kind, count(*) AS lines, count(DISTINCT l.entity_id) AS of_them, sum(l.amount)::bigint AS amount
            FROM settlement_lines l WHERE l.store_id = %s GROUP BY l.kind ORDER BY l.kind""",
        refunds.tenant.store_id,
    )
    assert [(row["kind"], row["lines"], row["of_them"], abs(row["amount"])) for row in lines] == [
        ("payment", SALES, SALES, 1_000 * SALES),
        ("refund", 3 * SALES, 3 * SALES, 900 * SALES),
    ]
    left = await all_of(
        admin, b"SELECT id FROM refunds WHERE store_id = %s AND settlement_id IS NULL", refunds.tenant.store_id
    )
    assert left == []
