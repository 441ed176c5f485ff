"""Define the eleven categories of a line after our lines and the provider's were compared.

Each line of ours and each line of the provider gets exactly one category: the first row of this table that fits.

| what was found                                                                          | category               |
|------------------------------------------------------------------------------------------|------------------------|
| a pair, but their line moved nothing (not settled, or reversed on the same statement)     | ``status_mismatch``     |
| a pair in two currencies                                                                  | ``currency_mismatch``   |
| a pair of two amounts                                                                     | ``amount_mismatch``     |
| a pair of two fees (not compared if the statement has no fee column)                      | ``fee_mismatch``        |
| a pair on two days: not the local day of ours, not its business day, and over an hour off | ``date_mismatch``       |
| any other pair                                                                            | ``matched``             |
| theirs alone, and it moved nothing, as in our books                                       | ``matched``             |
| theirs alone, under a reference they used before on this statement                        | ``duplicate_provider``  |
| theirs alone, of an attempt of ours that succeeded, but is in no line of this settlement  | ``date_mismatch``       |
| theirs alone, of an attempt of ours that did not succeed, or of one we do not know yet    | ``status_mismatch``     |
| theirs alone, of nothing we know                                                          | ``missing_internally``  |
| ours alone, under a provider's reference that another line of ours has                    | ``duplicate_internal``  |
| ours alone, and the provider may still report it (its service level)                      | ``expected``            |
| ours alone                                                                                | ``missing_at_provider`` |

A pair that differs in several ways gets the gravest category; its differences in amount and fee are counted in full.
"""

from enum import StrEnum


class Category(StrEnum):
    """The result of comparing a line."""

    MATCHED = "matched"
    EXPECTED = "expected"
    MISSING_AT_PROVIDER = "missing_at_provider"
    MISSING_INTERNALLY = "missing_internally"
    AMOUNT_MISMATCH = "amount_mismatch"
    CURRENCY_MISMATCH = "currency_mismatch"
    STATUS_MISMATCH = "status_mismatch"
    FEE_MISMATCH = "fee_mismatch"
    DUPLICATE_INTERNAL = "duplicate_internal"
    DUPLICATE_PROVIDER = "duplicate_provider"
    DATE_MISMATCH = "date_mismatch"


NO_BREAK = frozenset({Category.MATCHED, Category.EXPECTED})
"""Categories that need no action; all others are breaks."""
