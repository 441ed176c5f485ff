"""Money is a whole number of minor units with a currency; its parts sum to the whole for any weights."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.money import MAX_AMOUNT, Money, currencies, exponent

amounts = st.integers(min_value=0, max_value=MAX_AMOUNT)
weights = st.lists(st.integers(min_value=0, max_value=10**9), min_size=1, max_size=30).filter(any)


@given(amount=amounts, parts=weights)
def test_a_split_sums_to_the_whole_to_the_last_unit(amount: int, parts: list[int]) -> None:
    split = Money(amount, "JPY").split(parts)
    assert sum(part.amount for part in split) == amount
    assert len(split) == len(parts)


@given(amount=amounts, parts=weights)
def test_every_part_differs_from_its_exact_share_by_less_than_a_unit(amount: int, parts: list[int]) -> None:
    for part, weight in zip(Money(amount, "JPY").split(parts), parts, strict=True):
        assert abs(part.amount * sum(parts) - amount * weight) < sum(parts)


@given(amount=amounts, count=st.integers(min_value=1, max_value=30))
def test_equal_parts_differ_by_one_unit_at_most_and_the_earlier_are_the_larger(amount: int, count: int) -> None:
    parts = [part.amount for part in Money(amount, "USD").split([1] * count)]
    assert max(parts) - min(parts) <= 1
    assert parts == sorted(parts, reverse=True)


@given(amount=amounts, parts=weights)
def test_a_part_with_weight_zero_is_zero(amount: int, parts: list[int]) -> None:
    for part, weight in zip(Money(amount, "JPY").split(parts), parts, strict=True):
        assert weight or part.amount == 0


@given(left=amounts, right=amounts)
def test_subtraction_reverses_addition(left: int, right: int) -> None:
    assert Money(left, "JPY") + Money(right, "JPY") - Money(right, "JPY") == Money(left, "JPY")


@pytest.mark.parametrize("wrong", [[], [0], [0, 0], [1, -1], [-1]])
def test_invalid_weights_are_refused(wrong: list[int]) -> None:
    with pytest.raises(ValueError, match="parts need weights"):
        Money(100, "JPY").split(wrong)


DIFFERENT_IN_CLDR = {
    "AFN": 2,
    "ALL": 2,
    "IQD": 3,
    "IRR": 2,
    "KPW": 2,
    "LAK": 2,
    "LBP": 2,
    "MGA": 2,
    "MMK": 2,
    "RSD": 2,
    "SOS": 2,
    "YER": 2,
}
"""Currencies whose everyday prices have fewer decimals than their accounts."""


@pytest.mark.parametrize(
    ("currency", "places"),
    [("JPY", 0), ("USD", 2), ("EUR", 2), ("KWD", 3), ("KRW", 0), ("ISK", 0), ("UYU", 2), *DIFFERENT_IN_CLDR.items()],
)
def test_each_currency_has_its_own_number_of_decimals(currency: str, places: int) -> None:
    assert exponent(currency) == places


@pytest.mark.parametrize(
    ("amount", "currency", "major"),
    [(1000, "JPY", "1000"), (1050, "USD", "10.50"), (1234, "KWD", "1.234"), (105_025, "RSD", "1050.25")],
)
def test_minor_units_become_major_ones_exactly(amount: int, currency: str, major: str) -> None:
    assert Money(amount, currency).decimal() == Decimal(major)


def test_a_thousand_yen_is_formatted_without_decimals() -> None:
    assert Money(1000, "JPY").text() == "¥1,000"


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "text"),
    [
        (105_025, "RSD", "en", "RSD1,050.25"), (105_025, "RSD", "sr", "1.050,25\xa0RSD"),
        (-105_025, "RSD", "ja", "-RSD1,050.25"),
        (1_050_250, "IQD", "en", "IQD1,050.250"), (-1000, "JPY", "ja", "-\uffe51,000"), (1050, "USD", "en", "$10.50"),
        (0, "KWD", "en", "KWD0.000"), (123_456_700, "CHF", "de_CH", "CHF\xa01\u2019234\u2019567.00"),
    ],
)  # fmt: skip
def test_every_locale_prints_all_decimals_of_the_currency(amount: int, currency: str, locale: str, text: str) -> None:
    assert Money(amount, currency).text(locale) == text


@pytest.mark.parametrize(
    "code", ["XAU", "XAG", "XXX", "XTS", "XDR", "CLF", "CHE", "USN", "BOV", "UYI", "UYW", "XAD", "BGN"]
)
def test_funds_metals_and_former_currencies_are_refused(code: str) -> None:
    assert code not in currencies()


def test_every_currency_of_the_table_is_accepted_and_can_be_printed() -> None:
    assert len(currencies()) > 150
    assert {"XAF", "XOF", "XPF", "XCD", "XCG", "EUR", "JPY"} < currencies()
    for currency in currencies():
        assert Money(1, currency).text("ja")


@pytest.mark.parametrize("wrong", [1.0, "1", True, None, Decimal(1)])
def test_only_whole_numbers_are_amounts(wrong: Any) -> None:
    with pytest.raises(TypeError):
        Money(wrong, "JPY")


@pytest.mark.parametrize("wrong", ["", "jpy", "XXX", "XAU", "ZZZ", "DEM"])
def test_only_currencies_in_use_are_accepted(wrong: str) -> None:
    with pytest.raises(ValueError, match="not a currency in use"):
        Money(1, wrong)
    assert wrong not in currencies()


def test_amounts_of_two_currencies_cannot_be_added() -> None:
    with pytest.raises(ValueError, match="do not add up"):
        Money(1, "JPY") + Money(1, "USD")
    with pytest.raises(ValueError, match="do not add up"):
        Money(1, "JPY") - Money(1, "USD")
