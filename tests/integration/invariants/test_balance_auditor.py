"""The balance auditor, on a real database and over real HTTP, finds one wrong unit in any of the three books."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from mpac.audit.balance_audit import NOBODY, BalanceAudit, audit_balances
from mpac.cli.errors import UserError
from tests.integration.invariants.valid_rows import drop_constraints, insert_valid_rows, run

CHARGE = {
    "kind": "charge",
    "reference": "pay_1:1",
    "payment_id": "pay_1",
    "amount": 1_050,
    "currency": "JPY",
    "fee": 34,
}
REVERSED = [{**CHARGE, "reference": "pay_3:1"}, {**CHARGE, "reference": "pay_3:1", "kind": "reversal", "fee": -34}]
Provider = Callable[[list[dict[str, Any]]], Awaitable[str]]


async def commit_rows(url: str, *lies: str) -> None:
    """Commit valid rows, changed by the statements ``lies``."""
    engine = create_async_engine(make_url(url).set(drivername="postgresql+psycopg"))
    async with engine.begin() as connection:
        await drop_constraints(connection)
        await insert_valid_rows(connection)
        await run(connection, *lies)
    await engine.dispose()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Yield a provider whose ledger the test writes."""
    rows: list[dict[str, Any]] = []

    async def page(_request: web.Request) -> web.Response:
        return web.json_response({"data": rows, "next": None})

    app = web.Application()
    app.router.add_get("/control/ledger", page)
    async with TestServer(app) as server:

        async def says(movements: list[dict[str, Any]]) -> str:
            rows[:] = movements
            return str(server.make_url("/"))

        yield says


async def run_audit(url: str, provider: Provider, *movements: dict[str, Any]) -> BalanceAudit:
    return await audit_balances(database_url=url, sandbox_url=await provider(list(movements)))


async def test_no_difference_is_reported_for_correct_books(own_database: str, provider: Provider) -> None:
    await commit_rows(own_database)
    found = await run_audit(own_database, provider, CHARGE, *REVERSED)
    assert found.differences == ()
    assert found.checked == {"totals": 1, "accounts": 1, "movements": 1}


@pytest.mark.parametrize(
    ("rules", "lie"),
    [
        ({"totals"}, "UPDATE settlements SET gross_amount = 1051, net_amount = 1017 WHERE id = 'stl_1'"),
        ({"totals"}, "UPDATE settlements SET fees_amount = 35, net_amount = 1015 WHERE id = 'stl_1'"),
        ({"totals", "accounts", "movements"}, "UPDATE settlement_lines SET amount = 1049"),
        ({"totals", "accounts", "movements"}, "UPDATE settlement_lines SET fee = 33"),
        ({"totals", "accounts", "movements"}, "DELETE FROM settlement_lines"),
        ({"accounts", "movements"}, "UPDATE payments SET settlement_id = NULL WHERE id = 'pay_1'"),  # counted twice
        ({"accounts", "movements"}, "UPDATE settlement_lines SET store_id = 'sto_2'"),
        ({"accounts"}, "UPDATE ledger_entries SET amount = amount + sign(amount) WHERE amount IN (1050, -1000)"),
        ({"accounts"}, "UPDATE ledger_entries SET amount = 1051 WHERE amount = 1050"),
        ({"accounts"}, "UPDATE ledger_entries SET amount = amount - sign(amount) WHERE journal_id = 'jrn_2'"),
        ({"accounts"}, "UPDATE ledger_accounts SET provider = 'cash' WHERE kind = 'fees'"),
        ({"accounts"}, "UPDATE ledger_journals SET store_id = 'sto_2' WHERE id = 'jrn_2'"),
        ({"accounts"}, "UPDATE settlements SET cash_actual = -1, note = 'x' WHERE id = 'stl_1'"),
    ],
)  # fmt: skip
async def test_a_difference_of_one_unit_in_our_books_is_found(
    own_database: str, provider: Provider, rules: set[str], lie: str
) -> None:
    await commit_rows(own_database, lie)
    found = await run_audit(own_database, provider, CHARGE)
    assert {difference.rule for difference in found.differences} == rules
    assert all(difference.place.startswith("sto_") for difference in found.differences)


@pytest.mark.parametrize(
    ("place", "movements"),
    [
        ("sto_1 JPY", [{**CHARGE, "amount": 1_051}]),
        ("sto_1 JPY", [{**CHARGE, "fee": 35}]),
        ("sto_1 JPY", []),
        ("sto_1 JPY", [CHARGE, {**CHARGE, "kind": "refund", "reference": "rfd_2:2", "amount": 1, "fee": 0}]),
        ("sto_1 USD", [{**CHARGE, "currency": "USD"}]),
        (f"{NOBODY} JPY", [CHARGE, {**CHARGE, "reference": "pay_9:1"}]),
    ],
)
async def test_a_difference_of_one_unit_in_the_providers_ledger_is_found(
    own_database: str, provider: Provider, place: str, movements: list[dict[str, Any]]
) -> None:
    await commit_rows(own_database)
    found = await run_audit(own_database, provider, *movements)
    assert {difference.rule for difference in found.differences} == {"movements"}
    assert place in {difference.place for difference in found.differences}


async def test_money_whose_end_is_open_is_set_aside(own_database: str, provider: Provider) -> None:
    attempt = """INSERT INTO {0}_attempts ({0}_id, number, merchant_id, store_id, provider, reference, sent_at)
                 VALUES ('{1}', 1, 'mer_1', 'sto_1', 'sandbox', '{1}:1', now())"""
    await commit_rows(own_database, attempt.format("payment", "pay_2"), attempt.format("refund", "rfd_1"))
    refund = {**CHARGE, "kind": "refund", "reference": "rfd_1:1", "amount": 300, "fee": 0}
    found = await run_audit(own_database, provider, CHARGE, {**CHARGE, "reference": "pay_2:1"}, refund)
    assert (found.differences, found.set_aside) == ((), 2)


async def test_without_a_provider_our_books_are_compared_with_each_other(own_database: str) -> None:
    await commit_rows(own_database, "UPDATE settlement_lines SET amount = 1049")
    found = await audit_balances(database_url=own_database, sandbox_url=None)
    assert {difference.rule for difference in found.differences} == {"totals", "accounts"}


async def test_an_unreachable_database_is_reported_in_a_sentence() -> None:
    with pytest.raises(UserError, match="can't be audited"):
        await audit_balances(database_url="postgresql://mpac@127.0.0.1:9/mpac", sandbox_url=None)
