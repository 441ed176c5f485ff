"""The chapters of the demonstration, in the order they are played; those of one line are played at the same time.

A chapter is a file with ``TITLE``, ``EXERCISES`` and ``play``; a later part of the product adds its file and its name here.
The title of a line is that of its first chapter, which is what the others happen beside. ``EXERCISES`` names the rules that
have something to look at when the chapter has been played: without that the demonstration proves nothing about them.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mpac.demo.chapters import cafe, day, payments
from mpac.demo.environment import DemoEnvironment
from mpac.demo.problems import Problem

NOT_EXERCISED = {
    "bound of a refund": "a refund of the story is final within a second, and the auditors look between the scenes",
    "looked after: a refund": "as above",
}
"""Rule that no chapter has to exercise → why."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """``play`` returns the problems; none means that all went well. ``is_played``: whether it does anything on this stage."""

    title: str
    play: Callable[[DemoEnvironment], Awaitable[list[Problem]]]
    exercises: frozenset[str]
    is_played: Callable[[DemoEnvironment], bool]


def _chapter(module: Any) -> Chapter:
    is_played = getattr(module, "is_played", lambda _stage: True)
    return Chapter(module.TITLE, module.play, frozenset(module.EXERCISES), is_played)


CHAPTERS: tuple[tuple[Chapter, ...], ...] = (
    (_chapter(payments), _chapter(cafe)),
    (_chapter(day),),
)
