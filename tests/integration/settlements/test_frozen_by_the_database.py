"""The database itself keeps closed settlements unchanged and periods without gaps (I7)."""

from datetime import timedelta

import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege

from tests.integration.settlements.settlement_helpers import SettlementShop
from workflows.ids import new_id


@pytest.mark.parametrize(
    "change",
    [
        "net_amount = net_amount + 1, gross_amount = gross_amount + 1",
        "breakdown = '{}'",
        "end_at = end_at + interval '1 second'",
        "cash_expected = 5",
        "late_count = 7",
        "business_date = business_date + 1",
        "closed_at = closed_at + interval '1 second'",
        "currency = 'USD'",
        "status = 'open', version = version + 1",
    ],
)
async def test_the_database_refuses_changes_of_a_closed_settlement_for_every_role(
    shop: SettlementShop, change: str
) -> None:
    await shop.since()
    closed = await shop.close_now()
    with pytest.raises(CheckViolation):
        await shop.admin.execute(f"UPDATE settlements SET {change} WHERE id = %s", [closed["id"]])


async def test_the_database_refuses_to_change_lines_or_to_settle_twice(shop: SettlementShop) -> None:
    await shop.since()
    sold = await shop.sell(100)
    closed = await shop.close_now()
    for statement in (
        "UPDATE settlement_lines SET amount = 99 WHERE settlement_id = %s",
        "DELETE FROM settlement_lines WHERE settlement_id = %s",
        "DELETE FROM settlements WHERE id = %s",
    ):
        with pytest.raises(InsufficientPrivilege):
            await shop.admin.execute(statement, [closed["id"]])
    with pytest.raises(CheckViolation, match="takes no such line"):
        await shop.admin.execute(
            "INSERT INTO settlement_lines (settlement_id, kind, entity_id, merchant_id, store_id, provider, currency, amount,"
            " occurred_at, business_date) VALUES (%s, 'adjustment', %s, %s, %s, 'sandbox', 'JPY', 1, now(), now())",
            [closed["id"], new_id("adjustment"), shop.tenant.merchant_id, shop.tenant.store_id],
        )
    with pytest.raises(CheckViolation, match="was settled in"):
        await shop.admin.execute("UPDATE payments SET settlement_id = NULL WHERE id = %s", [sold])


async def test_the_database_refuses_a_period_that_leaves_a_gap(shop: SettlementShop) -> None:
    await shop.since()
    await shop.close_now()
    running = await shop.running()
    figures = (
        "line_count gross_amount refunds_amount fees_amount adjustments_amount net_amount late_count in_doubt_count"
    )
    zeros = " = 0, ".join([*figures.split(), "in_doubt_amount", "cash_expected"])
    later = (running["end_at"] + timedelta(seconds=1), running["end_at"] + timedelta(days=1))
    await shop.admin.execute("BEGIN")
    try:
        await shop.admin.execute(
            f"UPDATE settlements SET status = 'closed', version = 2, closed_at = now(), breakdown = '{{}}', {zeros} = 0"
            " WHERE id = %s",
            [running["id"]],
        )
        with pytest.raises(CheckViolation, match="no period of"):
            await shop.admin.execute(
                "INSERT INTO settlements (id, merchant_id, store_id, currency, business_date, start_at, end_at, time_zone,"
                " cut_off, status, version, created_at) VALUES (%s, %s, %s, 'JPY', now(), %s, %s, 'Asia/Tokyo', '00:00',"
                " 'open', 1, now())",
                [new_id("settlement"), shop.tenant.merchant_id, shop.tenant.store_id, *later],
            )
    finally:
        await shop.admin.execute("ROLLBACK")
