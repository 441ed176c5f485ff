"""Define the chart of accounts, per merchant, provider and currency, and what each journal posts.

Debits are positive, credits negative; a journal sums to zero, an account's balance is the sum of its entries.

| journal           | source          | debit                       | credit                              |
|-------------------|-----------------|-----------------------------|-------------------------------------|
| ``completion``    | the payment     | ``cash`` or ``receivable``  | ``sales``, and ``tips`` for the tip  |
| ``refund``        | the refund      | ``refunds``                 | ``cash`` or ``receivable``           |
| ``fee``           | the same        | ``fees``                    | ``cash`` or ``receivable``           |
| ``adjustment``    | the adjustment  | ``receivable`` (or ``cash``)| ``differences``                      |
| ``cash_difference``| the count      | ``cash``                    | ``differences``                      |
| ``payout``        | the payout      | ``bank``                    | ``receivable``                       |

A negative amount (a shortage, a correction downwards) swaps the sides of the last three.
"""

from enum import StrEnum


class AccountKind(StrEnum):
    """The kinds of account; a CHECK in the migration lists the same values."""

    CASH = "cash"  # what should be in the drawers
    RECEIVABLE = "receivable"  # what a provider, or the acquirer behind the terminal's card application, owes us
    BANK = "bank"  # what a provider has paid out
    SALES = "sales"  # sales without tips, before refunds
    TIPS = "tips"  # tips, which are owed to the staff
    REFUNDS = "refunds"  # what was refunded
    FEES = "fees"  # fees that providers retain
    DIFFERENCES = "differences"  # cash over and short, and corrections found by reconciliation


class JournalKind(StrEnum):
    """The kinds of journal."""

    COMPLETION = "completion"
    REFUND = "refund"
    FEE = "fee"
    ADJUSTMENT = "adjustment"
    CASH_DIFFERENCE = "cash_difference"
    PAYOUT = "payout"


CASH_PROVIDER = "cash"
"""The provider whose money is in the drawer; every other provider owes its money to the merchant."""


def holder(provider: str) -> AccountKind:
    """Return the kind of account that receives money taken through ``provider``."""
    return AccountKind.CASH if provider == CASH_PROVIDER else AccountKind.RECEIVABLE
