"""The chapters of the demonstration, in the order they are played; those of one line are played at the same time.

A chapter is a file with ``TITLE`` and ``play``; a later part of the product adds its file and its name here. The title of
a line is that of its first chapter, which is what the others happen beside.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mpac.demo.chapters import cafe, day, payments
from mpac.demo.stage import Stage


@dataclass(frozen=True, slots=True)
class Chapter:
    """``play`` returns sentences about what went wrong; none means that all went well."""

    title: str
    play: Callable[[Stage], Awaitable[list[str]]]


def _chapter(module: Any) -> Chapter:
    return Chapter(module.TITLE, module.play)


CHAPTERS: tuple[tuple[Chapter, ...], ...] = (
    (_chapter(payments), _chapter(cafe)),
    (_chapter(day),),
)
