"""Sums by method become the figures of a settlement, and each part satisfies the same equation as the total."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.settlements.close import CloseResult
from workflows.settlements.totals import AMOUNTS, add_up

AMOUNT = st.integers(-(10**12), 10**12)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "method_type": st.sampled_from(["cash", "qr", "card", "emoney", None, "cheque"]),
            "provider": st.sampled_from(["cash", "sandbox", "external"]),
            "brand": st.sampled_from([None, "visa", "jcb"]),
            "count": st.integers(1, 10**6),
            "late": st.integers(0, 10),
            **{name: AMOUNT for name in AMOUNTS},
        }
    ),
    max_size=12,
)


def _groups(breakdown: dict[str, Any]) -> list[dict[str, int]]:
    divided = [group for method in ("qr", "card", "emoney") for group in breakdown[method].values()]
    return [breakdown["cash"], breakdown["other"], *divided]


@given(ROWS)
def test_the_parts_of_a_settlement_sum_to_its_totals_and_each_to_its_net(rows: list[dict[str, Any]]) -> None:
    figures = add_up(rows)
    groups = _groups(figures["breakdown"])
    for name in (*AMOUNTS, "net"):
        assert sum(group[name] for group in groups) == dict(figures)[f"{name}_amount"]
    for group in groups:
        assert group["net"] == group["gross"] - group["refunds"] - group["fees"] + group["adjustments"]
    assert figures["line_count"] == sum(row["count"] for row in rows)
    assert figures["late_count"] == sum(row["late"] for row in rows)


def test_qr_is_divided_by_provider_and_cards_by_brand() -> None:
    amounts = {"count": 1, "late": 0, "gross": 100, "refunds": 0, "fees": 3, "adjustments": 0}
    figures = add_up(
        [
            {"method_type": "qr", "provider": "sandbox", "brand": "visa", **amounts},
            {"method_type": "card", "provider": "external", "brand": "visa", **amounts},
            {"method_type": "card", "provider": "sandbox", "brand": "visa", **amounts},
            {"method_type": "card", "provider": "external", "brand": None, **amounts},
        ]
    )
    assert set(figures["breakdown"]["qr"]) == {"sandbox"}
    assert {brand: group["count"] for brand, group in figures["breakdown"]["card"].items()} == {"visa": 2, "unknown": 1}


def test_expected_cash_is_cash_taken_less_cash_refunded() -> None:
    row = {"method_type": "cash", "provider": "cash", "brand": None, "count": 3, "late": 0, "fees": 0}
    figures = add_up([{**row, "gross": 3_000, "refunds": 800, "adjustments": -50}])
    assert figures["cash_expected"] == 2_150


@pytest.mark.parametrize(
    ("lines", "failed", "expected", "is_open"),
    [
        ({}, [], "nothing to close", False),
        ({"stl_1": 1}, [], "1 closed: 1 line", False),
        ({"stl_1": 1, "stl_2": 0, "stl_3": 4}, [], "3 closed: 5 lines", False),
        ({"stl_1": 2}, ["stl_2"], "1 closed: 2 lines, 1 could not be closed", True),
        ({}, ["stl_1", "stl_2"], "2 could not be closed", True),
    ],
)
def test_the_log_states_how_many_settlements_were_closed_and_how_many_were_not(
    lines: dict[str, int], failed: list[str], expected: str, is_open: bool
) -> None:
    outcome = CloseResult(lines, failed).outcome
    assert (str(outcome), outcome.is_open) == (expected, is_open)
