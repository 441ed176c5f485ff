"""Count unfinished work: payments and refunds that are open, in doubt or in review, and dead letters.

Unfinished work breaks no rule. Open rows are in progress; all others have an unknown outcome or need a person.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mpac.cli.format_duration import format_duration
from mpac.cli.format_money import format_money

if TYPE_CHECKING:  # importing the product takes a second
    from workflows.ops.count_open_rows import Overview

GROUPS = {"open": "Open", "in_doubt": "In doubt", "needs_review": "In review", "needs_action": "To refund by hand"}
"""Column of the overview → its name in the output."""

ENTITIES = {"payment": "payment(s)", "refund": "refund(s)"}
WIDEST = max(map(len, GROUPS.values()))


@dataclass(frozen=True, slots=True)
class UnfinishedAmount:
    """Payments or refunds of one group and currency; the amount is in minor units."""

    entity: str
    currency: str
    count: int
    amount: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class UnfinishedWork:
    """How many payments, refunds and dead letters are unfinished.

    ``groups`` has the keys of ``GROUPS``; each group has one entry for each currency of its payments or refunds.
    """

    groups: dict[str, list[UnfinishedAmount]]
    dead_letters: int
    dead_letters_oldest_seconds: float

    @property
    def is_resolved(self) -> bool:
        """Whether every outcome is known and nothing waits for a person; merely open work does not count."""
        return not self.dead_letters and not any(self.groups[name] for name in GROUPS if name != "open")

    def as_json(self) -> dict[str, Any]:
        """Return the groups and the dead letters as a JSON object."""
        letters = {"count": self.dead_letters, "oldest_seconds": self.dead_letters_oldest_seconds}
        return {
            **{name: [asdict(part) for part in parts] for name, parts in self.groups.items()},
            "dead_letters": letters,
        }

    def lines(self) -> list[str]:
        """Return one line for each group."""
        letters = (
            f"{self.dead_letters:,}, oldest {format_duration(self.dead_letters_oldest_seconds)}"
            if self.dead_letters
            else "none"
        )
        said = {GROUPS[name]: _describe(parts) for name, parts in self.groups.items()} | {"Dead letters": letters}
        return [f"{name + ':':<{WIDEST + 1}} {words}" for name, words in said.items()]


def count_unfinished_work(overview: Overview) -> UnfinishedWork:
    """Add up the rows of the overview by currency."""
    return UnfinishedWork(
        {name: list(_parts(overview, name)) for name in GROUPS},
        overview.dead_letters,
        overview.dead_letters_oldest_seconds,
    )


def _parts(overview: Overview, group: str) -> Iterable[UnfinishedAmount]:
    for entity, currency in sorted({(row.entity, row.currency) for row in overview.open}):
        rows = [row for row in overview.open if (row.entity, row.currency) == (entity, currency)]
        if count := sum(getattr(row, group) for row in rows):
            amount = sum(getattr(row, f"{group}_amount") for row in rows)
            yield UnfinishedAmount(
                entity, currency, count, amount, max(getattr(row, f"{group}_oldest_seconds") for row in rows)
            )


def _describe(parts: list[UnfinishedAmount]) -> str:
    said = [
        f"{part.count:,} {ENTITIES[part.entity]}, {format_money(part.amount, part.currency)}, "
        f"oldest {format_duration(part.oldest_seconds)}"
        for part in parts
    ]
    return "; ".join(said) or "none"
