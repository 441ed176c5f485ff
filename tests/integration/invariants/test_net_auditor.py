"""The auditor of the provider's net, over real HTTP, finds corrections for money that is already booked."""

from typing import Any

import pytest

from mpac.audit.net_audit import NetAudit, audit_net
from mpac.cli.errors import UserError
from tests.integration.invariants.test_balance_auditor import CHARGE, REVERSED, Provider, commit_rows, provider
from tests.integration.invariants.valid_settlements import CORRECTION

__all__ = ["provider"]


async def run_audit(url: str, provider: Provider, *movements: dict[str, Any]) -> NetAudit:
    return await audit_net(database_url=url, sandbox_url=await provider(list(movements)))


async def test_correct_books_equal_the_providers_net(own_database: str, provider: Provider) -> None:
    await commit_rows(own_database)
    found = await run_audit(own_database, provider, CHARGE, *REVERSED)
    assert (found.differences, found.explained) == ((), 0)
    assert found.checked >= 2
    assert found.set_aside >= 0


@pytest.mark.parametrize(
    "lie",
    [
        CORRECTION.format(reference="pay_1:1"),
        CORRECTION.format(reference="pay_1:1").replace("1050,", "-1,"),
        "UPDATE settlement_lines SET amount = 1049",
        "UPDATE settlement_lines SET currency = 'USD'",
        "UPDATE settlement_lines SET store_id = 'sto_2'",
        "DELETE FROM settlement_lines",
    ],
)
async def test_money_that_the_books_have_twice_or_not_at_all_is_found(
    own_database: str, provider: Provider, lie: str
) -> None:
    await commit_rows(own_database, lie)
    found = await run_audit(own_database, provider, CHARGE, *REVERSED)
    assert {one.problem.partition(":1:")[0] for one in found.differences} == {"pay_1"}


async def test_a_correction_by_the_providers_reference_is_counted_with_its_sale(
    own_database: str, provider: Provider
) -> None:
    by_theirs = CORRECTION.format(reference="x").replace("our_reference", "provider_reference")
    await commit_rows(own_database, "UPDATE settlement_lines SET provider_reference = 'x'", by_theirs)
    (departure,) = (await run_audit(own_database, provider, CHARGE)).differences
    assert departure.problem.endswith("hold 2066, the provider's ledger 1016")


async def test_a_refund_that_moved_more_than_the_settlements_say_is_found(
    own_database: str, provider: Provider
) -> None:
    await commit_rows(own_database)
    more = {**CHARGE, "kind": "refund", "amount": 5, "fee": 0}
    (departure,) = (await run_audit(own_database, provider, CHARGE, more)).differences
    assert departure.place == "sto_1 JPY sandbox"
    assert departure.problem.endswith("hold 1016, the provider's ledger 1011")


async def test_a_correction_that_follows_the_statement_is_named_where_that_differs_from_the_ledger(
    own_database: str, provider: Provider
) -> None:
    lower = CORRECTION.format(reference="pay_1:1").replace("1050,", "-50,")
    await commit_rows(own_database, lower, "UPDATE statement_lines SET amount = 1000")
    found = await run_audit(own_database, provider, CHARGE)
    assert (found.differences, found.explained) == ((), 1)


async def test_without_a_provider_ledger_the_net_is_not_audited(own_database: str) -> None:
    await commit_rows(own_database)
    with pytest.raises(UserError):
        await audit_net(database_url=own_database, sandbox_url="http://127.0.0.1:9")
