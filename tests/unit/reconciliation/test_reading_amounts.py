"""An amount in a statement file that two countries would read differently is refused, never guessed."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workflows.money import MAX_MOVED, Money
from workflows.providers.statement_mapping import StatementMapping
from workflows.reconciliation.statements.lines import UnreadableStatement
from workflows.reconciliation.statements.parse_row import row_reader

POINT, COMMA = {"decimal_mark": "."}, {"decimal_mark": ","}


def mapping_of(currency: str, **words: Any) -> StatementMapping:
    return StatementMapping(
        columns={"our_reference": "r", "amount": "a"}, currency=currency, **{"amounts": "major", **words}
    )


def read(currency: str, text: str, **words: Any) -> int:
    return row_reader(mapping_of(currency, **words), ["r", "a"])(2, ["pay_1:1", text]).amount


def refusal(currency: str, text: str, **words: Any) -> str:
    with pytest.raises(UnreadableStatement) as why:
        read(currency, text, **words)
    assert why.value.field == "amount"
    return why.value.issue


@pytest.mark.parametrize(
    ("currency", "text", "amount"),
    [
        ("JPY", "1050", 1050), ("USD", "10.5", 1050), ("USD", "1,010.50", 101_050), ("KWD", "1050.000", 1_050_000),
        ("USD", "-1", -100), ("USD", "+.50", 50), ("INR", "1,00,000.25", 10_000_025), ("JPY", "1,234,567", 1_234_567),
        ("JPY", "1,050", 1050), ("KRW", "-999,000", -999_000),
        ("KWD", "0.500", 500), ("KWD", "1,050.250", 1_050_250), ("USD", "0010.50", 1050), ("BHD", ".005", 5),
    ],
)  # fmt: skip
def test_an_unambiguous_amount_needs_no_declared_mark(currency: str, text: str, amount: int) -> None:
    assert read(currency, text) == amount


@pytest.mark.parametrize(
    ("currency", "text"),
    [
        (currency, text)
        for currency in ("EUR", "USD", "KWD")
        for text in ("2.500", "1,000", "-1.050", "+999,999", "12.345", "01.000")
    ]
    + [("JPY", text) for text in ("1.000", "2.500", "-999.999")],
)
def test_an_ambiguous_amount_is_refused_without_declared_marks(currency: str, text: str) -> None:
    issue = refusal(currency, text)
    assert f'"{text}"' in issue
    assert "decimal_mark" in issue


@pytest.mark.parametrize(
    ("marks", "currency", "text", "amount"),
    [
        (COMMA, "JPY", "1.000", 1000), (COMMA, "EUR", "1.000", 100_000), (COMMA, "EUR", "2.500", 250_000),
        (COMMA, "EUR", "10,50", 1050), (COMMA, "EUR", "1.234,56", 123_456), (COMMA, "EUR", "1.234.567,8", 123_456_780),
        (COMMA, "KWD", "1,050", 1050), (COMMA, "EUR", ",50", 50), (COMMA, "JPY", "1000", 1000),
        (POINT, "JPY", "1,000", 1000), (POINT, "USD", "1,000", 100_000), (POINT, "KWD", "1.050", 1050),
        (POINT, "INR", "10,00,000.25", 100_000_025),
        ({**COMMA, "thousands_mark": " "}, "EUR", "1 234,56", 123_456),
        ({**COMMA, "thousands_mark": " "}, "EUR", "1\u202f234\u00a0567,5", 123_456_750),
        ({**POINT, "thousands_mark": "'"}, "CHF", "1'234.56", 123_456),
        ({**POINT, "thousands_mark": "'"}, "CHF", "1\u2019234\u2019567", 123_456_700),
    ],
)  # fmt: skip
def test_declared_marks_decide_how_an_amount_is_read(
    marks: dict[str, str], currency: str, text: str, amount: int
) -> None:
    assert read(currency, text, **marks) == amount
    assert read(currency, f"-{text}", **marks) == -amount


@pytest.mark.parametrize(
    ("marks", "currency", "text"),
    [
        ({}, "JPY", "1000.00"), ({}, "JPY", "10.5"), ({}, "JPY", "1,000.0"), ({}, "USD", "1.0050"), ({}, "USD", "0.000"),
        (POINT, "JPY", "1.000"), (POINT, "EUR", "2.500"), (COMMA, "EUR", "1,000"), (COMMA, "JPY", "1.000,00"),
        (POINT, "KWD", "1.0000"), ({}, "USD", "1000.000"),
    ],
)  # fmt: skip
def test_more_decimals_than_the_currency_has_are_refused_even_zeros(
    marks: dict[str, str], currency: str, text: str
) -> None:
    assert f"has more decimals than {currency}" in refusal(currency, text, **marks)


MALFORMED = [
    "10,50", "1,05", "1050,", ",105", "10,0000", "1,000,00", "1,00,0", "1_050", "1e3", "1e999999", "10.50.00", "NaN",
    "1.050,25", "1.234.567", "1 050", "1'050", "Infinity", "-", "+", ".", "", "--1", "1-", "(1)", "0x10", "1,0000,000",
    "\uff11\uff10\uff10", "\u0661\u0660", "\u22121", "1\u200b0", "1.0" + 30 * "0" + "1", "1" * 17, "1,,000", "12,34,56",
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_amount_is_refused(text: str) -> None:
    assert refusal("EUR", text).startswith('"' if text else "Must not be empty")


@pytest.mark.parametrize("text", ["1.00", "1.0000", "1.00,5", "10.50", "1.000.00", "1,000.00", "1 000,00", "1'000"])
def test_a_thousands_grouping_other_than_declared_is_refused(text: str) -> None:
    refusal("EUR", text, **COMMA)


@pytest.mark.parametrize(
    "text", ["10.50", "1,000", "1 000", "1e3", "", "\uff11", "1.0", "0x1", "1" * 17, str(MAX_MOVED + 1)]
)
def test_minor_units_are_plain_whole_numbers(text: str) -> None:
    refusal("EUR", text, amounts="minor")
    assert read("EUR", "-0100", amounts="minor") == -100


def test_an_error_quotes_a_value_short_printable_and_without_card_data() -> None:
    card = row_reader(mapping_of("EUR"), ["r", "a"])
    with pytest.raises(UnreadableStatement, match="Looks like card data") as why:
        card(2, ["pay_1:1", "4242 4242 4242 4242"])
    assert "4242" not in why.value.issue
    assert len(refusal("EUR", "9" * 10_000)) < 200
    assert "\ufffd" in refusal("EUR", "1\x000")


@pytest.mark.parametrize(
    "words",
    [{"thousands_mark": ","}, {"decimal_mark": ",", "thousands_mark": ","}, {"decimal_mark": ";"},
     {"decimal_mark": ".", "amounts": "minor"}, {"decimal_mark": ".", "thousands_mark": "0"}],
)  # fmt: skip
def test_impossible_decimal_and_thousands_marks_are_refused(words: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        mapping_of("EUR", **words)


@given(st.integers(-(10**12) + 1, 10**12 - 1), st.sampled_from(["JPY", "USD", "KWD"]))
def test_an_amount_printed_for_a_currency_is_read_to_the_unit(amount: int, currency: str) -> None:
    written = f"{Money(amount, currency).decimal():,f}"
    assert read(currency, written, **POINT) == amount
    assert read(currency, written.translate(str.maketrans(".,", ",.")), **COMMA) == amount


@given(st.integers(0, 10**9), st.sampled_from(["JPY", "EUR", "KWD"]), st.sampled_from(["", ".", ","]))
def test_an_amount_without_declared_marks_is_read_correctly_or_refused(
    amount: int, currency: str, thousands: str
) -> None:
    """Format an amount in every style: without declared marks, it is read correctly or refused."""
    point = "," if thousands == "." else "."
    written = f"{Money(amount, currency).decimal():{',' if thousands else ''}f}"
    written = written.replace(".", "p").replace(",", thousands).replace("p", point)
    with suppress(UnreadableStatement):
        assert read(currency, written) == amount
