"""Rows of a provider's file: read strictly, by the declared mapping."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workflows.money import Money
from workflows.providers.sandbox import MAPPING
from workflows.providers.statement_mapping import StatementMapping
from workflows.settlements.statements.lines import BadLine
from workflows.settlements.statements.read import default_mapping
from workflows.settlements.statements.rows import Unreadable, row_reader, try_row

HEADER = ["kind", "reference", "provider_reference", "amount", "currency", "fee", "at"]
GOOD = ["charge", "pay_1:1", "sbx_1", "1050", "JPY", "34", "2026-11-23T03:00:00Z"]


def changed(**cells: str) -> list[str]:
    return [cells.get(name, value) for name, value in zip(HEADER, GOOD, strict=True)]


def test_the_sandboxes_words_are_ours() -> None:
    line = row_reader(MAPPING, HEADER)(2, GOOD)
    assert (line.kind, line.our_reference, line.provider_reference) == ("payment", "pay_1:1", "sbx_1")
    assert (line.amount, line.currency, line.fee, line.is_settled) == (1050, "JPY", 34, True)


@pytest.mark.parametrize(
    ("word", "kind", "sign"), [("charge", "payment", 1), ("refund", "refund", -1), ("Reversal", "reversal", -1)]
)
def test_the_kind_says_which_way_the_money_went(word: str, kind: str, sign: int) -> None:
    line = row_reader(MAPPING, HEADER)(2, changed(kind=word))
    assert (line.kind, line.amount) == (kind, sign * 1050)


@pytest.mark.parametrize(
    ("currency", "text", "amount"),
    [
        ("JPY", "1,050", 1050),
        ("USD", "10.5", 1050),
        ("USD", "1,010.50", 101_050),
        ("KWD", "1.050", 1050),
        ("USD", "-1", -100),
        ("USD", "+.50", 50),
        ("INR", "1,00,000.25", 10_000_025),
        ("JPY", "1050.00", 1050),
    ],
)
def test_major_units_become_minor_ones_by_the_currency(currency: str, text: str, amount: int) -> None:
    mapping = StatementMapping(columns={"our_reference": "r", "amount": "a"}, currency=currency, amounts="major")
    assert row_reader(mapping, ["r", "a"])(2, ["pay_1:1", text]).amount == amount


@pytest.mark.parametrize(
    ("currency", "text"), [("JPY", "10.5"), ("USD", "1.005"), ("USD", "NaN"), ("USD", "1e999"), ("USD", "")]
)
def test_fractions_of_a_minor_unit_are_refused(currency: str, text: str) -> None:
    mapping = StatementMapping(columns={"our_reference": "r", "amount": "a"}, currency=currency, amounts="major")
    with pytest.raises(Unreadable) as why:
        row_reader(mapping, ["r", "a"])(2, ["pay_1:1", text])
    assert why.value.field == "amount"


@pytest.mark.parametrize(
    "text",
    [
        "10,50",
        "1,05",
        "1050,",
        ",105",
        "10,0000",
        "1,000,00",
        "1_050",
        "1e3",
        "1e999999",
        "10.50.00",
        "1.0" + 30 * "0" + "1",
    ],
)
def test_what_could_be_read_as_another_amount_is_refused(text: str) -> None:
    mapping = StatementMapping(columns={"our_reference": "r", "amount": "a"}, currency="EUR", amounts="major")
    with pytest.raises(Unreadable) as why:
        row_reader(mapping, ["r", "a"])(2, ["pay_1:1", text])
    assert why.value.field == "amount"


@given(st.integers(-(10**12) + 1, 10**12 - 1), st.sampled_from(["JPY", "USD", "KWD"]))
def test_what_a_currency_writes_is_read_to_the_unit(amount: int, currency: str) -> None:
    mapping = StatementMapping(columns={"our_reference": "r", "amount": "a"}, currency=currency, amounts="major")
    written = f"{Money(amount, currency).decimal():,f}"
    assert row_reader(mapping, ["r", "a"])(2, ["pay_1:1", written]).amount == amount


@given(st.lists(st.text(max_size=30), min_size=7, max_size=7))
def test_whatever_a_row_holds_it_is_a_line_or_a_complaint(cells: list[str]) -> None:
    line = try_row(row_reader(MAPPING, HEADER), 2, cells)
    assert (line.field and line.issue) if isinstance(line, BadLine) else type(line.amount) is int


@pytest.mark.parametrize("digits", ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111"])
def test_a_card_number_is_refused_wherever_it_stands(digits: str) -> None:
    for name in ("reference", "provider_reference", "kind"):
        with pytest.raises(Unreadable) as why:
            row_reader(MAPPING, HEADER)(2, changed(**{name: digits}))
        assert why.value.field == "line"


@pytest.mark.parametrize(
    "reference", ["sbx_4111111111111111", "a4111111111111111f", "pay_0198c0de411111111111111100000000:1"]
)
def test_references_of_letters_and_digits_are_not_taken_for_cards(reference: str) -> None:
    assert row_reader(MAPPING, HEADER)(2, changed(provider_reference=reference)).provider_reference == reference


@pytest.mark.parametrize("day", ["2026-11-23", "2026/11/23", "20261123"])
def test_days_are_read_however_they_are_spelled(day: str) -> None:
    mapping = StatementMapping(columns={"our_reference": "r", "amount": "a", "on": "d"}, currency="JPY")
    assert row_reader(mapping, ["r", "a", "d"])(2, ["x", "1", day]).occurred_on == "2026-11-23"
    with pytest.raises(Unreadable):
        row_reader(mapping, ["r", "a", "d"])(2, ["x", "1", "2026-02-30"])


def test_a_status_that_is_not_one_of_the_settled_words_has_moved_nothing() -> None:
    mapping = StatementMapping(
        columns={"our_reference": "r", "amount": "a", "status": "s"}, currency="JPY", settled_words=["OK"]
    )
    read = row_reader(mapping, ["r", "a", "s"])
    assert [read(2, ["x", "1", word]).is_settled for word in ("OK", "ok", "NG", "")] == [True, True, False, False]


@pytest.mark.parametrize("header", [["reference"], [*HEADER, "amount"], [name.upper() for name in HEADER]])
def test_a_header_has_each_column_of_the_mapping_once(header: list[str]) -> None:
    with pytest.raises(Unreadable):
        row_reader(MAPPING, header)


def test_columns_called_as_our_fields_need_no_mapping() -> None:
    mapping = default_mapping("external", ["amount", "currency", "provider_reference", "remark"])
    assert set(mapping.columns) == {"amount", "currency", "provider_reference"}
    with pytest.raises(ValidationError):
        default_mapping("external", ["amount", "currency", "remark"])
