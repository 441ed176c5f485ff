"""Export cells that a spreadsheet would run as formulas become text; all other values stay unchanged."""

import csv
import io
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.reports.export import cell, csv_rows

SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"  # includes the full-width forms


@pytest.mark.parametrize("sign", SIGNS)
def test_text_that_begins_like_a_formula_is_prefixed_with_an_apostrophe(sign: str) -> None:
    for text in (sign, f"{sign}HYPERLINK(1)", f"{sign}1+1|cmd"):
        assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["pay_1", "渋谷店", "a=1", "", " =1", "'=1"])
def test_texts_without_a_formula_are_exported_unchanged(value: str) -> None:
    assert cell(value) == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (-1_000, -1_000),  # a negative amount is a number and does not come from a client
        (0, 0),
        (None, None),
        (True, "true"),
        (False, "false"),
        (datetime(2026, 11, 27, 3, tzinfo=UTC), "2026-11-27T03:00:00Z"),
        (date(2026, 11, 27), date(2026, 11, 27)),
    ],
)
def test_values_other_than_text_are_exported_as_in_the_api(value: Any, shown: Any) -> None:
    assert cell(value) == shown


@given(st.lists(st.text(), min_size=2, max_size=5))
def test_no_exported_row_has_a_formula_or_breaks_the_table(texts: list[str]) -> None:
    (row,) = csv.reader(io.StringIO(csv_rows([texts]).decode(), newline=""), strict=True)
    assert len(row) == len(texts)
    for written, text in zip(row, texts, strict=True):
        assert written.removeprefix("'") == text or written == text
        assert not written.startswith(tuple(SIGNS))
