"""Totals of an order: worked examples, and properties that hold for all orders."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.errors import InvalidRequest
from workflows.money import MAX_AMOUNT
from workflows.orders.totals import OrderLine, OrderTotals, TaxRounding, compute_totals, tax_of

HALF_UP = TaxRounding.HALF_UP


def line(quantity: int, unit_price: int, rate: str) -> OrderLine:
    return OrderLine("a dish", quantity, unit_price, Decimal(rate))


def totals(*lines: OrderLine, discount: int = 0, currency: str = "JPY", rounding: TaxRounding = HALF_UP) -> OrderTotals:
    return compute_totals(lines, discount_amount=discount, currency=currency, rounding=rounding)


def test_a_japanese_receipt_rounds_once_per_rate() -> None:
    # takeaway at 8 %: 3 × 117 + 99 = 450 → 36; a bag at 10 %: 5 → 0.5 → 1
    found = totals(line(3, 117, "0.08"), line(1, 99, "0.08"), line(1, 5, "0.10"))
    assert found == OrderTotals(subtotal=455, tax_amount=37, discount_amount=0, total_amount=492)


def test_rounding_per_item_would_have_given_another_tax() -> None:
    # 3 items of 13 at 8 %: 39 → 3.12 → 3 once; 1.04 → 1 each would be 3 too, but 3 of 18: 4.32 → 4, and 1.44 → 1 each is 3
    assert totals(*[line(1, 18, "0.08")] * 3).tax_amount == 4


def test_two_spellings_of_a_tax_rate_are_one_rate() -> None:
    assert totals(line(1, 5, "0.1"), line(1, 5, "0.10")).tax_amount == 1  # two rates would have given 1 + 1


def test_american_cents_are_rounded_once_per_rate() -> None:
    # $10.99 + 2 × $4.50 = $19.99 at 8.875 %: 177.41125 cents → 177
    found = totals(line(1, 1099, "0.08875"), line(2, 450, "0.08875"), currency="USD")
    assert found == OrderTotals(subtotal=1999, tax_amount=177, discount_amount=0, total_amount=2176)


def test_kuwaiti_fils_are_rounded_once_per_rate() -> None:
    # 2.750 + 3 × 0.415 = 3.995 dinars at 5 %: 199.75 fils → 200; no sales tax on 1.000
    found = totals(line(1, 2750, "0.05"), line(3, 415, "0.05"), line(1, 1000, "0"), currency="KWD")
    assert found == OrderTotals(subtotal=4995, tax_amount=200, discount_amount=0, total_amount=5195)


def test_a_discount_is_spread_over_the_rates_before_tax() -> None:
    # 600 at 8 % and 400 at 10 %, 101 off: 60.6 and 40.4 → 61 and 40; tax on 539 is 43.12 → 43, on 360 is 36
    found = totals(line(1, 600, "0.08"), line(1, 400, "0.10"), discount=101)
    assert found == OrderTotals(subtotal=1000, tax_amount=79, discount_amount=101, total_amount=978)


def test_totals_do_not_depend_on_the_sequence_of_items() -> None:
    lines = [line(1, 333, "0.08"), line(1, 333, "0.10"), line(1, 334, "0")]
    assert totals(*lines, discount=100) == totals(*reversed(lines), discount=100)


def test_discount_of_the_whole_subtotal_gives_a_total_of_zero() -> None:
    assert totals(line(1, 500, "0.10"), discount=500) == OrderTotals(500, 0, 500, 0)


@pytest.mark.parametrize(
    ("rounding", "tax"), [(TaxRounding.HALF_UP, 1), (TaxRounding.DOWN, 0), (TaxRounding.UP, 1)], ids=str
)
def test_rounding_direction_of_one_half_is_a_setting(rounding: TaxRounding, tax: int) -> None:
    assert tax_of(5, Decimal("0.10"), rounding=rounding) == tax


def test_rounding_up_and_half_up_differ_below_one_half() -> None:
    assert tax_of(4, Decimal("0.10"), rounding=TaxRounding.UP) == 1
    assert tax_of(4, Decimal("0.10"), rounding=TaxRounding.HALF_UP) == 0


@pytest.mark.parametrize(
    ("lines", "discount", "field"),
    [
        ([line(1, 100, "0.08")], 101, "discount_amount"),
        ([line(2, MAX_AMOUNT, "0")], 0, "items"),
        ([line(1, MAX_AMOUNT, "0.10")], 0, "items"),
    ],
)
def test_totals_above_the_limit_are_refused(lines: list[OrderLine], discount: int, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        totals(*lines, discount=discount)
    assert refused.value.details[0].field == field


LINES = st.lists(
    st.builds(
        line,
        st.integers(1, 99),
        st.integers(0, 100_000),
        st.sampled_from(["0", "0.05", "0.08", "0.10", "0.08875", "0.99999"]),
    ),
    min_size=1,
    max_size=20,
)


@given(LINES, st.data(), st.sampled_from(TaxRounding))
def test_totals_always_add_up(lines: list[OrderLine], data: st.DataObject, rounding: TaxRounding) -> None:
    subtotal = sum(each.subtotal for each in lines)
    discount = data.draw(st.integers(0, subtotal))
    found = totals(*lines, discount=discount, rounding=rounding)
    assert found.subtotal == subtotal
    assert found.total_amount == subtotal - discount + found.tax_amount
    assert 0 <= found.tax_amount <= subtotal - discount + len(lines)
