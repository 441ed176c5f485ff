"""Every movement of money has exactly one journal, posted in the transaction that records it; nothing else is posted."""

from typing import Any

import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege, UniqueViolation

from tests.factories import Signer
from tests.harness import Api
from tests.integration.settlements.settlement_helpers import SettlementShop
from workflows.clock import now
from workflows.database.engines import Role, transaction
from workflows.ids import new_id
from workflows.ledger.post_journals import post_completions
from workflows.providers.base import Declined
from workflows.reconciliation.adjust import Adjustment, write_adjustment


async def entries(shop: SettlementShop, source_id: str) -> set[tuple[str, str, str, int]]:
    """Return (journal, account, provider, amount) of all entries posted for a source."""
    found = await shop.admin.execute(
        "SELECT j.kind AS journal, a.kind, a.provider, e.amount FROM ledger_journals j JOIN ledger_entries e ON"
        " e.journal_id = j.id JOIN ledger_accounts a ON a.id = e.account_id WHERE j.source_id = %s",
        [source_id],
    )
    return {(row["journal"], row["kind"], row["provider"], row["amount"]) for row in await found.fetchall()}


async def test_a_completed_payment_posts_sale_tip_and_fee(shop: SettlementShop) -> None:
    sold = await shop.sell(1_000, tip_amount=50, fee=34)
    assert await entries(shop, sold) == {
        ("completion", "receivable", "sandbox", 1_050),
        ("completion", "sales", "sandbox", -1_000),
        ("completion", "tips", "sandbox", -50),
        ("fee", "fees", "sandbox", 34),
        ("fee", "receivable", "sandbox", -34),
    }


async def test_cash_goes_into_the_drawer_and_has_no_fee(shop: SettlementShop) -> None:
    sold = await shop.sell(700, cash=True)
    assert await entries(shop, sold) == {("completion", "cash", "cash", 700), ("completion", "sales", "cash", -700)}


async def test_a_refund_posts_the_refunded_amounts(shop: SettlementShop) -> None:
    back = await shop.make_refund(await shop.sell(1_000, cash=True), 300)
    assert await entries(shop, back) == {("refund", "refunds", "cash", 300), ("refund", "cash", "cash", -300)}


async def test_payment_that_did_not_complete_posts_nothing(shop: SettlementShop) -> None:
    pending = await shop.payments.pending()
    await shop.payments.cancel(pending)
    assert await entries(shop, pending) == set()


async def test_declined_refund_posts_nothing(shop: SettlementShop) -> None:
    sold = await shop.sell()
    shop.provider.charges.append(Declined("insufficient_funds"))
    declined = await shop.payments.pending(tip_amount=50)
    await shop.payments.process(declined)
    shop.provider.refunds.append(Declined("too_late"))
    refused = await shop.make_refund(sold, 300)
    assert (await entries(shop, declined), await entries(shop, refused)) == (set(), set())
    statuses = await shop.admin.execute(
        "SELECT status FROM payments WHERE id = %s UNION ALL SELECT status FROM refunds WHERE id = %s",
        [declined, refused],
    )
    assert [row["status"] for row in await statuses.fetchall()] == ["failed", "failed"]


async def test_a_payment_is_not_posted_twice(shop: SettlementShop) -> None:
    sold = await shop.sell()
    moved: Any = [{"id": sold, "status": "completed"}]
    with pytest.raises(Exception, match=r"ledger_journals_\w+_source_key") as refused:
        async with transaction(Role.WORKER) as connection:
            await post_completions(connection, moved)
    assert isinstance(refused.value.__cause__, UniqueViolation)


async def test_an_adjustment_is_a_line_of_the_running_period_and_a_journal(shop: SettlementShop) -> None:
    await shop.since()
    async with transaction(Role.WORKER) as connection:
        adjustment_id = await write_adjustment(
            connection, Adjustment(shop.tenant.store_id, "JPY", "sandbox", -120, now())
        )
    assert await entries(shop, adjustment_id) == {
        ("adjustment", "receivable", "sandbox", -120),
        ("adjustment", "differences", "sandbox", 120),
    }
    closed = await shop.close_now()
    assert set(await shop.lines(closed["id"])) == {adjustment_id}
    assert (closed["adjustments_amount"], closed["net_amount"], closed["cash_expected"]) == (-120, -120, 0)
    assert closed["breakdown"]["other"]["adjustments"] == -120


async def post_raw(shop: SettlementShop, sold: str, amounts: list[int], currency: str) -> None:
    """Insert a journal for ``sold`` by raw SQL, with only the deferred trigger enabled."""
    async with shop.admin.transaction():
        await shop.admin.execute("ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_balanced")
        journal_id = new_id("journal")
        await shop.admin.execute(
            "INSERT INTO ledger_journals (id, merchant_id, store_id, kind, source_id, currency, occurred_at, posted_at)"
            " VALUES (%s, %s, %s, 'payout', %s, %s, now(), now())",
            [journal_id, shop.tenant.merchant_id, shop.tenant.store_id, new_id("adjustment"), currency],
        )
        await shop.admin.execute(
            "INSERT INTO ledger_entries SELECT %s, n, account_id, a.amount"
            " FROM unnest(%s::bigint[]) WITH ORDINALITY a(amount, n)"
            " JOIN (SELECT number, account_id FROM ledger_entries e JOIN ledger_journals j ON j.id = e.journal_id"
            "       WHERE j.source_id = %s AND j.kind = 'completion') e ON e.number = n",
            [journal_id, amounts, sold],
        )
        await shop.admin.execute("ALTER TABLE ledger_entries ENABLE TRIGGER ledger_entries_balanced")


@pytest.mark.parametrize(
    ("amounts", "currency"), [([500, -499], "JPY"), ([500], "JPY"), ([], "JPY"), ([500, -500], "USD")]
)
async def test_the_database_refuses_a_journal_that_does_not_balance_in_its_currency(
    shop: SettlementShop, amounts: list[int], currency: str
) -> None:
    sold = await shop.sell(900)
    await post_raw(shop, sold, [500, -500], "JPY")
    with pytest.raises(CheckViolation, match="does not sum to zero, or not on accounts"):
        await post_raw(shop, sold, amounts, currency)


async def test_the_database_refuses_an_entry_added_to_an_old_journal(shop: SettlementShop) -> None:
    sold = await shop.sell()
    with pytest.raises(CheckViolation, match="does not sum to zero"):
        await shop.admin.execute(
            "INSERT INTO ledger_entries SELECT journal_id, 9, account_id, 5 FROM ledger_entries e JOIN ledger_journals j"
            " ON j.id = e.journal_id WHERE j.source_id = %s AND e.number = 1",
            [sold],
        )


async def as_role(shop: SettlementShop, role: Role, statement: str) -> None:
    """Run raw SQL with the rights of one of the application's roles."""
    async with shop.admin.transaction():
        await shop.admin.execute(f"SET LOCAL ROLE {role}")
        await shop.admin.execute(statement)


async def test_the_database_refuses_entries_without_a_journal(shop: SettlementShop) -> None:
    sold = await shop.sell()
    with pytest.raises(CheckViolation, match="no such journal"):
        await shop.admin.execute(
            "INSERT INTO ledger_entries SELECT 'jrn_nobody', number, account_id, e.amount FROM ledger_entries e"
            " JOIN ledger_journals j ON j.id = e.journal_id WHERE j.source_id = %s",
            [sold],
        )


@pytest.mark.parametrize("table", ["ledger_accounts", "ledger_journals", "ledger_entries"])
async def test_the_ledger_is_append_only(shop: SettlementShop, table: str) -> None:
    await shop.sell()
    column = "account_id" if table == "ledger_entries" else "currency"
    for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
        with pytest.raises(InsufficientPrivilege, match="append-only"):
            await shop.admin.execute(statement)
        for role in (Role.WORKER, Role.CALLER):
            with pytest.raises(InsufficientPrivilege, match="permission denied"):
                await as_role(shop, role, statement)


async def test_balances_and_journals_over_http(api: Api, shop: SettlementShop, signer: Signer) -> None:
    admin = signer.user(shop.tenant, role="merchant_admin")
    sold = await shop.sell(1_000, fee=34)
    await shop.make_refund(sold, 300)
    accounts = (await api.get("/ledger/accounts", as_=admin)).body["data"]
    assert {row["kind"]: row["balance"] for row in accounts} == {
        "receivable": 1_000 - 34 - 300,
        "sales": -1_000,
        "fees": 34,
        "refunds": 300,
    }
    await shop.sell(50)
    journals = (await api.get(f"/ledger/journals?payment_id={sold}", as_=admin)).body["data"]
    assert sorted(row["kind"] for row in journals) == ["completion", "fee", "refund"]
    for row in journals:
        assert sum(entry["amount"] for entry in row["entries"]) == 0
        assert row["payment_id"] == sold
    assert len((await api.get("/ledger/journals", as_=admin)).body["data"]) == 4
    manager = signer.user(shop.tenant, role="store_manager")
    for path in ("/ledger/accounts", "/ledger/journals"):
        assert (await api.get(path, as_=manager)).status == 403


async def test_the_ledger_of_another_merchant_is_404(
    api: Api, shop: SettlementShop, signer: Signer, make_tenant: Any
) -> None:
    sold = await shop.sell()
    other = signer.user(await make_tenant(), role="merchant_admin")
    assert (await api.get("/ledger/accounts", as_=other)).body["data"] == []
    assert (await api.get(f"/ledger/journals?payment_id={sold}", as_=other)).body["data"] == []
