"""Transfers post to the accounts that the chart's table lists, and the migration has the same account kinds."""

import importlib
import inspect
from datetime import UTC, datetime

import pytest

from workflows.ledger.post_journals import AccountKind, JournalKind, Transfer, receiving_account, sides


def _transfer(kind: JournalKind, provider: str) -> Transfer:
    return Transfer(kind, "src", "mer", "sto", provider, "JPY", 5, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("kind", "provider", "debit", "credit"),
    [
        (JournalKind.ADJUSTMENT, "sandbox", AccountKind.RECEIVABLE, AccountKind.DIFFERENCES),
        (JournalKind.ADJUSTMENT, "cash", AccountKind.CASH, AccountKind.DIFFERENCES),
        (JournalKind.CASH_DIFFERENCE, "cash", AccountKind.CASH, AccountKind.DIFFERENCES),
        (JournalKind.PAYOUT, "sandbox", AccountKind.BANK, AccountKind.RECEIVABLE),
    ],
)
def test_a_transfer_debits_and_credits_the_accounts_of_the_chart(
    kind: JournalKind, provider: str, debit: AccountKind, credit: AccountKind
) -> None:
    assert sides(_transfer(kind, provider)) == (debit, credit)


def test_transfer_refuses_the_journal_kinds_of_payments_and_refunds() -> None:
    with pytest.raises(KeyError):
        sides(_transfer(JournalKind.COMPLETION, "sandbox"))


def test_only_cash_is_held_in_the_drawer() -> None:
    assert [receiving_account(name) for name in ("cash", "external", "sandbox")] == [
        AccountKind.CASH,
        AccountKind.RECEIVABLE,
        AccountKind.RECEIVABLE,
    ]


def test_migration_lists_the_same_account_kinds() -> None:
    source = inspect.getsource(importlib.import_module("migrations.versions.0008_ledger").upgrade)
    for kinds in (AccountKind, JournalKind):
        assert f"({', '.join(repr(str(kind)) for kind in kinds)})" in " ".join(source.split())
