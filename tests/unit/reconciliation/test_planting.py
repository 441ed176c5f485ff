"""`mpac statement` plants each break once and on its own line, and the same breaks for the same seed."""

import io
from collections import Counter
from datetime import UTC, datetime

import pytest

from mpac.cli.commands.statement import parse_break_option
from mpac.cli.errors import UserError
from mpac.devtools.statement.inject_breaks import CHANGES, TooFewLines, inject_breaks
from mpac.devtools.statement.lines import SourceLine, write_csv, write_json_lines
from workflows.reconciliation.classify import NO_BREAK, Category

AT = datetime(2026, 11, 23, 3, tzinfo=UTC)


def lines(count: int) -> list[SourceLine]:
    return [
        SourceLine("payment", f"pay_{i}", f"pay_{i}:1", f"sbx_{i // 2 if i < 4 else i}", 1_000, "JPY", 32, AT)
        for i in range(count)
    ]


def test_every_category_of_break_can_be_planted() -> None:
    assert set(CHANGES) == set(Category) - NO_BREAK


def test_the_list_of_planted_breaks_names_each_break_once() -> None:
    wanted = dict.fromkeys(CHANGES, 2)
    statement, truth = inject_breaks(lines(60), wanted, seed=5)
    assert Counter(one.category for one in truth) == wanted
    assert len({one.our_reference for one in truth}) == len(truth)
    # two missing here, two missing there, two unknown here, two duplicated, two reversed
    assert len(statement) == 60 - 2 - 2 + 2 + 2 + 2


def test_the_same_seed_plants_the_same_breaks() -> None:
    wanted = {"amount_mismatch": 3, "missing_internally": 3}
    assert inject_breaks(lines(40), wanted, seed=1) == inject_breaks(lines(40), wanted, seed=1)
    assert inject_breaks(lines(40), wanted, seed=1) != inject_breaks(lines(40), wanted, seed=2)


def test_a_statement_without_planted_breaks_is_unchanged() -> None:
    statement, truth = inject_breaks(lines(9), {}, seed=1)
    assert ([line.our_reference for line in statement], truth) == ([f"pay_{i}:1" for i in range(9)], [])


@pytest.mark.parametrize("wanted", [{"amount_mismatch": 7}, {"duplicate_internal": 3}])
def test_planting_more_breaks_than_lines_is_refused(wanted: dict[str, int]) -> None:
    with pytest.raises(TooFewLines):
        inject_breaks(lines(10), wanted, seed=1)


def test_csv_and_json_statements_have_the_same_lines() -> None:
    statement, _ = inject_breaks(lines(3), {}, seed=1)
    as_csv, as_json = io.StringIO(), io.StringIO()
    assert write_csv(as_csv, statement) == write_json_lines(as_json, statement) == 3
    assert as_csv.getvalue().splitlines()[1] == "charge,pay_0:1,sbx_0,1000,JPY,32,2026-11-23T03:00:00+00:00"
    assert '"reference": "pay_0:1"' in as_json.getvalue().splitlines()[0]


@pytest.mark.parametrize("word", ["amount", "amount_mismatch=x", "=3", ""])
def test_planting_an_unknown_break_is_refused(word: str) -> None:
    with pytest.raises(UserError):
        parse_break_option(word)
    assert parse_break_option("amount_mismatch=3") == ("amount_mismatch", 3)
    assert parse_break_option("fee_mismatch") == ("fee_mismatch", 1)
