"""Divide the amounts of a bill into parts that add up to the bill exactly.

| by      | totals of the parts                        | discount and tax of the parts                        |
|---------|--------------------------------------------|------------------------------------------------------|
| parts   | equal, largest remainder: 100 → 34, 33, 33 | in proportion to the totals, largest remainder        |
| amounts | as given; they must add up to the bill      | as for parts                                         |
| items   | subtotal − discount + tax                  | discount by the items' prices, tax by their own tax   |

In each part, as in the bill, ``total = subtotal − discount + tax``, and none of these is below zero. A part with a total of 0
is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from workflows.bills.models import BillRow
from workflows.errors import Detail, InvalidRequest
from workflows.money import Money

RATE_UNIT = Decimal(100_000)
"""The factor that turns a tax rate into a whole number, because rates have at most five decimals."""


@dataclass(frozen=True, slots=True)
class BillPart:
    """The amounts of one part of a bill or of orders, in minor units.

    ``item_ids`` are its items if the part is for whole items, else ``None``.
    """

    subtotal: int
    tax_amount: int
    discount_amount: int
    item_ids: tuple[str, ...] | None = None

    @property
    def total_amount(self) -> int:
        """The amount to pay."""
        return self.subtotal - self.discount_amount + self.tax_amount


def equal_parts(bill: BillRow, parts: int) -> list[BillPart]:
    """Divide ``bill`` into ``parts`` equal parts. Raises ``InvalidRequest`` if a part would be 0."""
    totals = [money.amount for money in Money(bill["total_amount"], bill["currency"]).split([1] * parts)]
    if min(totals) == 0:
        raise InvalidRequest(Detail("parts", f"Must be at most {bill['total_amount']}, or a part would be 0"))
    return _by_totals(bill, totals)


def parts_of_amounts(bill: BillRow, amounts: Sequence[int]) -> list[BillPart]:
    """Divide ``bill`` into one part per amount.

    Raises ``InvalidRequest`` if the amounts do not add up to the bill's total.
    """
    if sum(amounts) != bill["total_amount"]:
        raise InvalidRequest(Detail("amounts", f"Must sum to {bill['total_amount']}, not {sum(amounts)}"))
    return _by_totals(bill, amounts)


def parts_of_items(
    bill: BillRow, groups: Sequence[Sequence[str]], items: Mapping[str, Mapping[str, Any]]
) -> list[BillPart]:
    """Divide ``bill`` into one part per group of item ids.

    ``items`` are the rows of the bill's items by id. Raises ``InvalidRequest`` if the groups do not name each item of
    the bill exactly once, or if a part would be 0.
    """
    _check_partition(groups, items)
    subtotals = [sum(items[item_id]["subtotal"] for item_id in group) for group in groups]
    tax_weights = [
        sum(items[item_id]["subtotal"] * int(items[item_id]["tax_rate"] * RATE_UNIT) for item_id in group)
        for group in groups
    ]
    discounts = _split_amount(bill["discount_amount"], subtotals, bill["currency"])
    taxes = _split_amount(bill["tax_amount"], tax_weights, bill["currency"])
    found = [
        BillPart(subtotal, tax, discount, tuple(group))
        for subtotal, tax, discount, group in zip(subtotals, taxes, discounts, groups, strict=True)
    ]
    for number, part in enumerate(found):
        if part.total_amount == 0:
            raise InvalidRequest(Detail(f"items.{number}", "Must add up to more than 0"))
    return found


def _check_partition(groups: Sequence[Sequence[str]], items: Mapping[str, Mapping[str, Any]]) -> None:
    named = [item_id for group in groups for item_id in group]
    unknown = sorted(set(named) - set(items))
    missing = sorted(set(items) - set(named))
    if unknown:
        raise InvalidRequest(Detail("items", f"{unknown[0]} is not an item of this bill"))
    if missing:
        raise InvalidRequest(Detail("items", f"Must name every item of the bill; {missing[0]} is missing"))
    if len(named) > len(items):
        raise InvalidRequest(Detail("items", "Must name every item once"))


def _by_totals(bill: BillRow, totals: Sequence[int]) -> list[BillPart]:
    taxes = _split_amount(bill["tax_amount"], totals, bill["currency"])
    discounts = _split_amount(bill["discount_amount"], totals, bill["currency"])
    return [
        BillPart(total + discount - tax, tax, discount)
        for total, tax, discount in zip(totals, taxes, discounts, strict=True)
    ]


def _split_amount(amount: int, weights: Sequence[int], currency: str) -> list[int]:
    if amount == 0:
        return [0] * len(weights)
    return [money.amount for money in Money(amount, currency).split(list(weights))]
