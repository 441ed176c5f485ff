"""Rows of a statement file are parsed strictly, by the declared mapping."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workflows.errors import InvalidRequest
from workflows.providers.sandbox import MAPPING
from workflows.providers.statement_mapping import StatementMapping
from workflows.reconciliation.statements.lines import BadLine, UnreadableStatement
from workflows.reconciliation.statements.masking import CardDataScan, write_masked_json_lines
from workflows.reconciliation.statements.parse_file import (
    MAX_LINE_CHARACTERS,
    OpenedStatement,
    default_mapping,
    open_statement,
)
from workflows.reconciliation.statements.parse_row import row_reader, try_row

HEADER = ["kind", "reference", "provider_reference", "amount", "currency", "fee", "at"]
GOOD = ["charge", "pay_1:1", "sbx_1", "1050", "JPY", "34", "2026-11-23T03:00:00Z"]


def changed(**cells: str) -> list[str]:
    return [cells.get(name, value) for name, value in zip(HEADER, GOOD, strict=True)]


def test_files_of_the_sandbox_are_read_without_a_mapping() -> None:
    line = row_reader(MAPPING, HEADER)(2, GOOD)
    assert (line.kind, line.our_reference, line.provider_reference) == ("payment", "pay_1:1", "sbx_1")
    assert (line.amount, line.currency, line.fee, line.is_settled) == (1050, "JPY", 34, True)


@pytest.mark.parametrize(
    ("value", "kind", "sign"), [("charge", "payment", 1), ("refund", "refund", -1), ("Reversal", "reversal", -1)]
)
def test_the_kind_of_a_line_decides_the_sign_of_its_amount(value: str, kind: str, sign: int) -> None:
    line = row_reader(MAPPING, HEADER)(2, changed(kind=value))
    assert (line.kind, line.amount) == (kind, sign * 1050)


@given(st.lists(st.text(max_size=30), min_size=7, max_size=7))
def test_every_row_is_parsed_or_refused_with_an_issue(cells: list[str]) -> None:
    line = try_row(row_reader(MAPPING, HEADER), 2, cells)
    assert (line.field and line.issue) if isinstance(line, BadLine) else type(line.amount) is int


@pytest.mark.parametrize(
    "digits", ["4111111111111111", "4111 1111 1111 1111", "sbx_4111111111111111", "\uff14242424242424242"]
)
def test_a_card_number_in_a_mapped_column_is_refused_by_field_and_column(digits: str) -> None:
    for field, column in (
        ("our_reference", "reference"),
        ("provider_reference", "provider_reference"),
        ("kind", "kind"),
    ):
        with pytest.raises(UnreadableStatement) as why:
            row_reader(MAPPING, HEADER)(2, changed(**{column: digits}))
        assert why.value.field == field
        assert f'(column "{column}")' in why.value.issue
        assert digits not in why.value.issue


@pytest.mark.parametrize(
    "reference", ["sbx_4111111111111112", "23456789012340005", "pay_0198c0de411111111111111100000000:1"]
)
def test_references_that_no_brand_issues_are_read(reference: str) -> None:
    assert row_reader(MAPPING, HEADER)(2, changed(provider_reference=reference)).provider_reference == reference


def test_a_card_number_in_an_unmapped_column_does_not_refuse_the_row() -> None:
    scan = CardDataScan()
    read = row_reader(MAPPING, [*HEADER, "note"], scan)
    assert (read(2, [*GOOD, "4242 4242"]).amount, scan.has_card_data) == (1050, False)
    assert (read(2, [*GOOD, "x4242424242424242"]).amount, scan.has_card_data) == (1050, True)


@pytest.mark.parametrize("day", ["2026-11-23", "2026/11/23", "20261123"])
def test_dates_are_parsed_in_all_accepted_formats(day: str) -> None:
    mapping = StatementMapping(columns={"our_reference": "r", "amount": "a", "on": "d"}, currency="JPY")
    assert row_reader(mapping, ["r", "a", "d"])(2, ["x", "1", day]).occurred_on == "2026-11-23"
    for invalid in ("2026-02-30", "23.11.2026", "yesterday"):
        with pytest.raises(UnreadableStatement):
            row_reader(mapping, ["r", "a", "d"])(2, ["x", "1", invalid])


STATUS = {"our_reference": "r", "amount": "a", "status": "s"}


def test_a_status_says_whether_money_moved() -> None:
    mapping = StatementMapping(columns=STATUS, currency="JPY", settled_words=["OK"], unsettled_words=["NG", ""])
    read = row_reader(mapping, ["r", "a", "s"])
    assert [read(2, ["x", "1", value]).is_settled for value in ("OK", "ok ", "NG", "")] == [True, True, False, False]


@pytest.mark.parametrize("value", ["captured", "", "PARTIALLY_PAID", "\u53d6\u5f15\u5b8c\u4e86", "pendingx"])
def test_an_undeclared_status_is_refused_by_name(value: str) -> None:
    read = row_reader(StatementMapping(columns=STATUS, currency="JPY"), ["r", "a", "s"])
    assert [read(2, ["x", "1", known]).is_settled for known in ("Settled", "declined")] == [True, False]
    with pytest.raises(UnreadableStatement, match=f'"{value}" is not known; declare it in settled_words') as why:
        read(2, ["x", "1", value])
    assert why.value.field == "status"


def test_a_status_in_both_lists_has_moved() -> None:
    mapping = StatementMapping(columns=STATUS, currency="JPY", settled_words=["Pending"])
    assert row_reader(mapping, ["r", "a", "s"])(2, ["x", "1", "pending"]).is_settled


@pytest.mark.parametrize(
    ("column", "value"), [("kind", "payout"), ("kind", ""), ("currency", "YEN"), ("currency", "XAU")]
)
def test_an_undeclared_kind_or_currency_is_refused_by_name(column: str, value: str) -> None:
    with pytest.raises(UnreadableStatement) as why:
        row_reader(MAPPING, HEADER)(2, changed(**{column: value}))
    assert (why.value.field, why.value.issue.startswith(f'"{value}" is not')) == (column, True)


def test_a_value_for_two_kinds_is_refused() -> None:
    columns = {"our_reference": "r", "amount": "a", "kind": "k"}
    mapping = StatementMapping(columns=columns, currency="JPY", kinds={"Sale": "payment", "SALE": "refund"})
    with pytest.raises(UnreadableStatement, match="must be one kind"):
        row_reader(mapping, ["r", "a", "k"])


@pytest.mark.parametrize("header", [["reference"], [*HEADER, "amount"], [name.upper() for name in HEADER]])
def test_a_header_has_each_column_of_the_mapping_once(header: list[str]) -> None:
    with pytest.raises(UnreadableStatement):
        row_reader(MAPPING, header)


def test_columns_named_like_our_fields_need_no_mapping() -> None:
    mapping = default_mapping("external", ["amount", "currency", "provider_reference", "remark"])
    assert set(mapping.columns) == {"amount", "currency", "provider_reference"}
    with pytest.raises(ValidationError):
        default_mapping("external", ["amount", "currency", "remark"])


COLUMNS = {"our_reference": "r", "amount": "a"}


@pytest.mark.parametrize(
    ("changes", "issue"),
    [
        ({"encoding": "klingon"}, "Must be an encoding"),
        ({"encoding": "zip"}, "Must be one of utf-8"),
        ({"columns": {"our_reference": "r"}}, "must name the amount"),
        ({"columns": {"amount": "a"}}, "must name our_reference, provider_reference or both"),
        ({"currency": None}, "must name the currency, or currency must give it"),
    ],
)
def test_a_mapping_by_which_no_line_can_be_read_is_refused(changes: dict[str, Any], issue: str) -> None:
    assert StatementMapping(columns=COLUMNS, currency="JPY").encoding == "utf-8"
    with pytest.raises(ValidationError, match=issue):
        StatementMapping.model_validate({"columns": COLUMNS, "currency": "JPY", **changes})


def opened(text: str, *, format_: str = "csv", provider: str = "external") -> OpenedStatement:
    return open_statement(io.BytesIO(text.encode()), provider=provider, format_=format_, mapping=None)


def test_a_file_without_a_mapping_whose_columns_do_not_suffice_is_refused() -> None:
    with pytest.raises(InvalidRequest) as why:
        opened("amount,currency\n1,JPY\n")
    assert [(detail.field, detail.issue) for detail in why.value.details] == [
        ("mapping", "columns must name our_reference, provider_reference or both")
    ]


@pytest.mark.parametrize("length", [MAX_LINE_CHARACTERS, MAX_LINE_CHARACTERS + 1])
def test_a_line_of_csv_that_is_too_long_is_refused(length: int) -> None:
    with pytest.raises(InvalidRequest) as why:
        opened("a" * length)
    assert f"longer than {MAX_LINE_CHARACTERS} characters" in why.value.details[0].issue


def test_empty_lines_of_json_lines_are_skipped() -> None:
    line = '{"our_reference": "pay_1:1", "amount": "5", "currency": "JPY"}\n'
    found = opened(f"\n{line}\n \n{line}", format_="json_lines")
    assert [number for number, _ in found.rows] == [2, 5]


def test_only_the_lines_of_json_lines_with_a_card_number_are_rewritten() -> None:
    clean, card = b'{"a":"1",  "note":"x"}\n', b'{"a":"1",  "note":"4111111111111111"}\n'
    copy = io.BytesIO()
    mapping = StatementMapping(columns=COLUMNS, currency="JPY")
    write_masked_json_lines(io.BytesIO(clean + card + b"\n" + clean), copy, mapping)
    assert copy.getvalue() == clean + b'{"a": "1", "note": "****************"}\n' + b"\n" + clean
