"""The goals of a benchmark: which figure has to reach which value, and by how much it does or does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """A value that one figure of a row has to reach."""

    what: str
    path: tuple[str, ...]  # of the figure within the row's figures
    limit: float
    unit: str = ""
    at_least: bool = False  # otherwise the limit is the largest value that meets the goal


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal beside the measured value; ``None`` if the figure was not measured."""

    what: str
    limit: float
    unit: str
    at_least: bool
    value: float | None
    is_met: bool | None

    @property
    def sentence(self) -> str:
        """Whether the goal is met, and by how much."""
        wanted = f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}".rstrip()
        if self.value is None:
            return f"not measured ({wanted})"
        return f"{'met' if self.is_met else 'NOT MET'}{self._distance()} ({wanted})"

    def _distance(self) -> str:
        assert self.value is not None
        if self.value == self.limit:
            return " exactly"
        if self.limit == 0:
            return f" by {self.value:,g}"
        ratio = self.value / self.limit
        if ratio >= 2:
            return f": {ratio:.1f} times it"
        return f" by {abs(ratio - 1):.0%}"


def verdict(goal: Goal, figures: Figures) -> Verdict:
    """Compare ``figures`` with a goal."""
    value = figure_at(figures, goal.path)
    is_met = None if value is None else (value >= goal.limit if goal.at_least else value <= goal.limit)
    return Verdict(goal.what, goal.limit, goal.unit, goal.at_least, value, is_met)


def figure_at(figures: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return the value at ``path`` in nested mappings; ``None`` if it is missing."""
    value: Any = figures
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
