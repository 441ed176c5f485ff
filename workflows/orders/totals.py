"""Compute the totals of an order; a terminal never sends them.

| step     | rule                                                                                                      |
|----------|-----------------------------------------------------------------------------------------------------------|
| subtotal | the sum of quantity × unit price over all items; unit prices are without tax                              |
| discount | applies to the whole order. It is divided over the tax rates in proportion to their subtotals (largest    |
|          | remainder), so that tax is charged on the discounted price                                                |
| tax      | per rate: the subtotal of its items less its part of the discount, times the rate. It is rounded once     |
| total    | subtotal − discount + tax                                                                                 |

Japanese qualified invoices require one rounding per rate and document, never per item (National Tax Agency, invoice system).
The seller chooses the direction: ``MPAC_TAX_ROUNDING``, half up by default.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Decimal
from enum import StrEnum

from workflows.errors import Detail, InvalidRequest
from workflows.money import MAX_AMOUNT, Money


class TaxRounding(StrEnum):
    """The direction in which a fraction of a minor unit of tax is rounded."""

    HALF_UP = "half_up"
    DOWN = "down"
    UP = "up"


_DECIMAL_ROUNDING: Mapping[TaxRounding, str] = {
    TaxRounding.HALF_UP: ROUND_HALF_UP,
    TaxRounding.DOWN: ROUND_DOWN,
    TaxRounding.UP: ROUND_UP,
}
_ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class OrderLine:
    """An item as it was ordered.

    ``unit_price`` is in minor units and without tax. ``tax_rate`` is a fraction, such as 0.08.
    """

    name: str
    quantity: int
    unit_price: int
    tax_rate: Decimal

    @property
    def subtotal(self) -> int:
        """The price of the item in minor units, without tax."""
        return self.quantity * self.unit_price


@dataclass(frozen=True, slots=True)
class OrderTotals:
    """The totals of an order in minor units; ``total_amount = subtotal - discount_amount + tax_amount``."""

    subtotal: int
    tax_amount: int
    discount_amount: int
    total_amount: int


def compute_totals(
    lines: Sequence[OrderLine], *, discount_amount: int, currency: str, rounding: TaxRounding
) -> OrderTotals:
    """Return the totals of an order.

    Raises ``InvalidRequest`` if the discount is above the subtotal, or the subtotal or total is above ``MAX_AMOUNT``.
    """
    by_rate: dict[Decimal, int] = defaultdict(int)
    for line in lines:
        by_rate[line.tax_rate] += line.subtotal
    subtotal = sum(by_rate.values())
    if subtotal > MAX_AMOUNT:
        raise InvalidRequest(Detail("items", f"Must add up to at most {MAX_AMOUNT}"))
    if discount_amount > subtotal:
        raise InvalidRequest(Detail("discount_amount", f"Must be at most {subtotal}, the subtotal"))
    tax = sum(
        tax_of(base, rate, rounding=rounding)
        for rate, base in _discounted(by_rate, discount_amount=discount_amount, currency=currency)
    )
    total = subtotal - discount_amount + tax
    if total > MAX_AMOUNT:
        raise InvalidRequest(Detail("items", f"Must add up to at most {MAX_AMOUNT} with tax"))
    return OrderTotals(subtotal, tax, discount_amount, total)


def tax_of(base: int, rate: Decimal, *, rounding: TaxRounding) -> int:
    """Return the tax on an amount of ``base`` minor units, rounded to whole minor units."""
    return int((base * rate).quantize(_ONE, rounding=_DECIMAL_ROUNDING[rounding]))


def _discounted(by_rate: Mapping[Decimal, int], *, discount_amount: int, currency: str) -> list[tuple[Decimal, int]]:
    """Return each rate with its taxable amount after the discount.

    The result is sorted by rate, so that the order of the items does not matter.
    """
    bases = sorted(by_rate.items())
    if not discount_amount:
        return bases
    parts = Money(discount_amount, currency).split([base for _, base in bases])
    return [(rate, base - part.amount) for (rate, base), part in zip(bases, parts, strict=True)]


def format_tax_rate(value: Decimal) -> str:
    """Return a tax rate as text in the spelling in which it was sent: ``0.08``, never ``8E-2``."""
    return format(value, "f")
