"""The demonstration's day contains every kind of break once, and its printed tables match its data."""

import csv
import io
from collections import Counter
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from rich.console import Console
from rich.table import Table

from mpac.demo.day import tables
from mpac.demo.day.reconciliation_scenes import RESOLUTIONS
from mpac.demo.day.sales import (
    AFTER_MIDNIGHT,
    CASH_SHORT,
    EVENING,
    EXPECTED,
    LATE,
    LEFT_OUT,
    NOON,
    SAME_AMOUNT,
    PlannedSale,
)
from mpac.demo.day.statement_files import CARD_COMPANY, card_company_file, statement_with_breaks
from mpac.devtools.statement.inject_breaks import CHANGES
from mpac.devtools.statement.lines import SourceLine
from workflows.card_data import find_card_data
from workflows.providers.statement_mapping import StatementMapping
from workflows.reconciliation.classify import NO_BREAK, Category
from workflows.reconciliation.resolve_break import Resolution

BOOK = [sold for hour in (NOON, EVENING, AFTER_MIDNIGHT) for several in hour.values() for sold in several]
AT = datetime(2026, 11, 28, 3, 10, tzinfo=UTC)


def line(payment_id: str, amount: int = 1_000) -> SourceLine:
    return SourceLine("payment", payment_id, f"{payment_id}:1", f"sbx_{payment_id}", amount, "JPY", 32, AT)


def rows(statement: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(statement.decode())))


def test_each_kind_of_statement_break_is_planted_once() -> None:
    planted = Counter(sold.statement_break for sold in BOOK if sold.statement_break)
    assert planted == Counter([*(CHANGES.keys() - {"duplicate_internal"}), EXPECTED])


def test_exactly_one_card_slip_is_recorded_twice() -> None:
    slips = Counter(sold.method["card_arn"] for sold in NOON["Shibuya"] if "card_arn" in sold.method)
    assert sorted(slips.values()) == [1, 1, 2]


def test_the_missing_line_and_the_unknown_line_have_the_same_amount() -> None:
    assert {sold.amount for sold in BOOK if sold.statement_break in (LEFT_OUT, "missing_internally")} == {SAME_AMOUNT}


def test_the_day_resolves_every_category_of_break_with_all_four_resolutions() -> None:
    assert {e.category for e in RESOLUTIONS} | {e.to for e in RESOLUTIONS if e.to} == {
        *map(str, set(Category) - NO_BREAK)
    }
    # At that time of the demonstration no outcome is unknown, so there is nothing to confirm.
    assert {e.resolution for e in RESOLUTIONS} == set(get_args(Resolution)) - {"confirm"}


@pytest.mark.parametrize("sold", [*BOOK, LATE], ids=lambda sold: f"{sold.amount}")
def test_sales_of_the_day_contain_no_card_data_and_enough_cash(sold: PlannedSale) -> None:
    assert list(find_card_data({"amount": sold.amount, "method": sold.method})) == []
    assert sold.method.get("cash_received", sold.amount) >= sold.amount
    assert CASH_SHORT > 0


def test_a_corrected_statement_adds_only_the_late_lines() -> None:
    lines = [line(name, 1_000 + number) for number, name in enumerate(["pay_a", "pay_b", "pay_c", "pay_d", "pay_e"])]
    plants = {"pay_b": "amount_mismatch", "pay_c": EXPECTED, "pay_d": LEFT_OUT, "pay_e": "missing_internally"}
    first, second = (rows(statement_with_breaks(lines, plants, is_corrected=corrected)) for corrected in (False, True))
    assert [row for row in second if row not in first] == [row for row in second if row["reference"] == "pay_c:1"]
    assert [row for row in first if row not in second] == []
    assert "pay_d:1" not in {row["reference"] for row in second}
    assert len(second) == 5  # one line is left out, and one line is not ours


def test_the_card_company_file_has_each_provider_reference_once_and_none_of_ours() -> None:
    def of(provider: str, reference: str) -> dict[str, Any]:
        facts = {"provider": provider, "provider_reference": reference, "our_reference": "pay_x:1"}
        return {**facts, "business_date": "2026-11-28", "brand": "visa", "amount": 5_280}

    file = card_company_file([of("external", "V1"), of("external", "V1"), of("external", "M2"), of("sandbox", "sbx_1")])
    mapping = StatementMapping.model_validate(CARD_COMPANY)
    found = list(csv.DictReader(io.StringIO(file.decode(mapping.encoding))))
    assert [row[mapping.columns["provider_reference"]] for row in found] == ["M2", "V1"]
    assert "pay_x" not in file.decode(mapping.encoding)
    with pytest.raises(UnicodeDecodeError):
        file.decode("utf-8")


FIGURES = {
    "count": 120,
    "gross": 245_920,
    "refunds": 11_540,
    "fees": 10_733,
    "adjustments": -15_432,
    "net": 208_215,
}
SETTLEMENT = {
    "currency": "JPY",
    "business_date": "2026-11-28",
    "status": "reconciled",
    "reconciled_by": "worker-other@host",
    "totals": FIGURES,
    "breakdown": {"cash": FIGURES, "card": {"mastercard": FIGURES}, "qr": {}},
}
PART = {"count": 1, "ours": 245_920, "theirs": 245_920, "difference": -15_432, "fee_difference": -1_230}
SUMMARY = {
    "categories": {str(category): PART for category in Category},
    "ours": {"amount": 245_920},
    "theirs": {"amount": 245_920},
    "difference": -15_432,
    "fee_difference": -1_230,
}
BREAK = {
    **PART,
    "category": "missing_at_provider",
    "currency": "JPY",
    "their_line": {"currency": "JPY"},
    "resolution": "write_off",
    "note": "同じ売上が別の番号で計上されていた",
}


@pytest.mark.parametrize(
    "table",
    [
        tables.settlements([("Shinjuku", SETTLEMENT)]),
        tables.breakdown(SETTLEMENT),
        tables.categories(SUMMARY, "JPY"),
        tables.breaks([BREAK]),
    ],
    ids=["settlements", "breakdown", "categories", "breaks"],
)
def test_tables_are_not_truncated_at_80_columns(table: Table) -> None:
    shown = io.StringIO()
    Console(file=shown, width=78).print(table)  # 80 columns minus the margin
    assert "…" not in shown.getvalue()
    assert "245,920" in shown.getvalue()


def printed(table: Table) -> str:
    shown = io.StringIO()
    Console(file=shown, width=120).print(table)
    return shown.getvalue()


def test_each_amount_of_a_break_is_printed_in_its_own_currency() -> None:
    one = {**BREAK, "ours": 1_150, "theirs": 1_150, "difference": 1_150, "their_line": {"currency": "USD"}}
    (line,) = [row for row in printed(tables.breaks([one])).splitlines() if row.startswith("missing at provider")]
    assert line.split()[3:6] == ["¥1,150", "$11.50", "+¥1,150"]


def test_a_missing_amount_is_printed_as_a_dash_and_a_negative_amount_with_its_sign() -> None:
    one = {**BREAK, "currency": "KWD", "ours": None, "theirs": 1_500, "difference": -1_500, "their_line": None}
    (line,) = [row for row in printed(tables.breaks([one])).splitlines() if row.startswith("missing at provider")]
    assert line.split()[3:6] == ["—", "KWD1.500", "-KWD1.500"]


@pytest.mark.parametrize(("currency", "said"), [("USD", "$2,459.20"), ("KWD", "KWD"), ("JPY", "¥245,920")])
def test_every_table_of_amounts_names_the_currency(currency: str, said: str) -> None:
    day = {**SETTLEMENT, "currency": currency, "cash_expected": 245_920, "cash_actual": None, "cash_discrepancy": None}
    for table in (
        tables.settlements([("Shinjuku", day)]),
        tables.breakdown(day),
        tables.categories(SUMMARY, currency),
    ):
        assert said in printed(table)
    assert said in tables.cash({**day, "note": None})
    assert "— counted" in tables.cash({**day, "note": None})


def test_an_unresolved_break_is_printed_as_still_open() -> None:
    assert "still open" in printed(tables.breaks([{**BREAK, "resolution": None, "note": None}]))
