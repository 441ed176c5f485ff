"""The chapters of the demonstration, in groups.

The groups in ``CHAPTERS`` are played in order, the chapters of one group concurrently. A group is announced under the title of
its first chapter. A chapter is a module with ``TITLE``, ``EXERCISES`` and ``play``; new parts of the product add their chapter
module here. ``EXERCISES`` names the rules for which a played chapter must have produced something to check. If one of them had
nothing to check, the demonstration proves nothing about it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mpac.demo.chapters import cafe, day, payments
from mpac.demo.environment import DemoEnvironment
from mpac.demo.problems import Problem

NOT_EXERCISED = {
    "bound of a refund": "a refund of the story is final within a second, and the audits run between the scenes",
    "looked after: a refund": "as above",
    "listed: a refund": "as above",
    **dict.fromkeys(
        ("archived rows", "carried balances", "carried refunds", "carried rows", "carried sums"),
        "the story has no month that is old enough to be archived",
    ),
}
"""Rule that no chapter needs to exercise → the reason."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter. ``play`` returns its problems. ``is_played`` says whether the chapter does anything on this stack."""

    title: str
    play: Callable[[DemoEnvironment], Awaitable[list[Problem]]]
    exercises: frozenset[str]
    is_played: Callable[[DemoEnvironment], bool]


def _chapter(module: Any) -> Chapter:
    is_played = getattr(module, "is_played", lambda _demo: True)
    return Chapter(module.TITLE, module.play, frozenset(module.EXERCISES), is_played)


CHAPTERS: tuple[tuple[Chapter, ...], ...] = (
    (_chapter(payments), _chapter(cafe)),
    (_chapter(day),),
)
