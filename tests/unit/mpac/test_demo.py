"""The demonstration makes every kind of sale, counts the results, and prints plain lines without a terminal."""

import io
import random
from itertools import islice
from typing import Any

import pytest
from rich.console import Console

from mpac.demo.console import StoryConsole
from mpac.demo.process_age import seconds_since_command
from mpac.demo.sales import DECK, FIRST, OPENING, Behaviour, Method, Sale, sales
from mpac.demo.statistics import SalesStatistics, as_table, percentile
from mpac.stack.detach import _is_ready
from sandbox.faults import parse_fate
from workflows.card_data import find_card_data

DEALT = 1 + len(OPENING) + sum(kind.copies for kind in DECK)


def dealt(count: int = DEALT) -> list[Sale]:
    return list(islice(sales("abc", rng=random.Random(1)), count))


def test_the_first_sale_of_the_demonstration_has_no_fault() -> None:
    assert dealt()[0].kind is FIRST


def test_a_short_demonstration_shows_every_terminal_habit() -> None:
    assert {sale.kind.behaviour for sale in dealt(1 + len(OPENING))} == set(Behaviour)


def test_the_demonstration_makes_every_kind_of_sale() -> None:
    assert {sale.kind for sale in dealt()} == {FIRST, *DECK}
    assert {kind.method for kind in DECK} == set(Method)
    assert {kind.behaviour for kind in DECK} == set(Behaviour)


def test_every_sale_has_a_unique_client_reference() -> None:
    made = dealt(500)
    assert len({sale.reference for sale in made}) == 500


def test_demonstration_sales_contain_no_card_data() -> None:
    assert [path for sale in dealt(2_000) for path in find_card_data(sale.body)] == []


@pytest.mark.parametrize("fate", sorted({kind.fate for kind in DECK if kind.fate}))
def test_the_sandbox_parses_every_fate_of_the_demonstration(fate: str) -> None:
    assert parse_fate(fate)


def test_cash_received_covers_amount_and_tip() -> None:
    for sale in dealt(500):
        if sale.kind.method is Method.CASH:
            assert sale.body["method"]["cash_received"] >= sale.body["amount"] + sale.body["tip_amount"]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 99, 0), ([7], 50, 7), ([1, 2, 3, 4], 50, 2), (range(1, 101), 99, 99), (range(1, 102), 99, 100)],
)
def test_a_demonstration_percentile_is_a_measured_value(values: list[float], share: int, expected: float) -> None:
    assert percentile(values, share) == expected


def test_sales_statistics_count_by_status_and_record_the_first_completion() -> None:
    statistics = SalesStatistics()
    one, other = dealt(2)
    statistics.note_accepted(one, "pay_1", post_ms=3)
    statistics.note_accepted(other, "pay_2", post_ms=4)
    statistics.open["pay_2"] = True
    assert statistics.numbers() == ("2 accepted · 0 completed · 0 failed · 0 cancelled · 2 open (1 in doubt)")
    statistics.note_final(one, "pay_1", status="completed", final_ms=100)
    assert statistics.open == {"pay_2": True}
    assert statistics.total("completed") == 1
    assert statistics.first_completed_after_seconds is not None


def test_the_sales_table_has_a_line_for_each_method_and_a_total() -> None:
    statistics = SalesStatistics()
    for number, sale in enumerate(dealt(50)):
        statistics.note_accepted(sale, f"pay_{number}", post_ms=3)
        statistics.note_final(sale, f"pay_{number}", status="completed", final_ms=50)
    stream = io.StringIO()
    Console(file=stream, width=120).print(as_table(statistics, doubts={Method.QR_CPM: 2}))
    said = stream.getvalue()
    assert all(method in said for method in Method)
    assert "…" not in said
    assert "50" in said.splitlines()[-1]


def test_output_to_a_file_is_printed_as_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console = StoryConsole()
    with console.watch(lambda: "3 accepted"):
        console._last_line = -60.0  # long ago
        console.tick()
    console.say("It was killed.")
    said = capsys.readouterr().out
    assert "3 accepted" in said
    assert "It was killed." in said
    assert "\x1b" not in said


def test_seconds_since_the_command_are_positive_and_increase() -> None:
    first = seconds_since_command()
    assert 0 < first <= seconds_since_command() < 3_600


@pytest.mark.parametrize(
    ("info", "names", "is_there"),
    [
        ({"ready": ["api"]}, ("api",), True),
        ({"ready": ["api"]}, ("api", "sandbox"), False),
        ({"ready": ["api"]}, (), False),  # without names, all services must be ready
        ({"ready": ["api"], "complete": True}, ("flower",), True),
    ],
)
def test_a_background_stack_is_ready_when_the_named_services_are_ready(
    info: dict[str, Any], names: tuple[str, ...], is_there: bool
) -> None:
    assert _is_ready(info, names) is is_there
