"""The chart of accounts: what there is of each for every merchant, provider and currency, and what a journal posts.

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
    """The kinds of account; the migration spells the same words in a CHECK."""

    CASH = "cash"  # what should be in the drawers
    RECEIVABLE = "receivable"  # what a provider, or the acquirer behind the terminal's card application, owes us
    BANK = "bank"  # what a provider has paid out
    SALES = "sales"  # what was sold, without tips and before refunds
    TIPS = "tips"  # what customers gave on top; it is owed to the staff
    REFUNDS = "refunds"  # what was given back
    FEES = "fees"  # what providers keep
    DIFFERENCES = "differences"  # cash over and short, and corrections found by reconciliation


class JournalKind(StrEnum):
    """What a journal records."""

    COMPLETION = "completion"
    REFUND = "refund"
    FEE = "fee"
    ADJUSTMENT = "adjustment"
    CASH_DIFFERENCE = "cash_difference"
    PAYOUT = "payout"


CASH_PROVIDER = "cash"
"""The provider whose money lies in the drawer; everybody else owes it to us."""


def holder(provider: str) -> AccountKind:
    """The account on which money taken through ``provider`` arrives."""
    return AccountKind.CASH if provider == CASH_PROVIDER else AccountKind.RECEIVABLE
