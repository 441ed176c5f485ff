"""A benchmark asks the product's own auditors, and refuses figures in which they find something."""

import pytest

from benchmarks.audit import audit
from benchmarks.settlement.create_data import create_payments
from mpac.cli.errors import UserError
from mpac.stack.local_stack import LocalStack


def our_books_in(database_url: str) -> dict[str, str]:
    return {"MPAC_DATABASE_URL": database_url, "MPAC_SANDBOX_URL": ""}


async def test_figures_are_refused_if_a_rule_is_broken(stack: LocalStack, own_database: str) -> None:
    create_payments(own_database, run="audit", stores=1, payments=3)  # without history and journals
    with pytest.raises(UserError, match=r"The auditors found something, so the figures mean nothing: I\d+ broken"):
        await audit(stack, env=our_books_in(own_database))


async def test_an_audit_reports_how_much_was_checked(stack: LocalStack, own_database: str) -> None:
    found = await audit(stack, env=our_books_in(own_database))
    assert found["rules"] > 10
    assert found["checks"] >= 0


async def test_an_audit_that_cannot_read_the_database_is_not_a_clean_one(stack: LocalStack, own_database: str) -> None:
    with pytest.raises(UserError, match=r"failed|found something"):
        await audit(stack, env=our_books_in(f"{own_database}-missing"))
