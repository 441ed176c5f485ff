"""Commands print durations in one or in three units."""

import pytest

from mpac.cli.format_duration import format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3_599, "59 min"),
        (7_200, "2 h"),
        (90_000, "1 day"),
        (900_000, "10 days"),
    ],
)
def test_one_unit_shows_the_largest_unit_rounded_down(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (3_605, "1 h 5 s"),
        (97_445, "1 day 3 h 4 min"),
        (34_560_000, "400 days"),
        (86_401, "1 day"),
    ],
)
def test_three_units_show_three_adjacent_units_without_zeros(seconds: int, text: str) -> None:
    assert format_duration(seconds, units=3) == text
