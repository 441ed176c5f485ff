"""The chapters of the demonstration, in the order they are played.

A chapter is a file with ``TITLE`` and ``play``; a later part of the product adds its file and its name here.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mpac.demo.chapters import payments
from mpac.demo.stage import Stage


@dataclass(frozen=True, slots=True)
class Chapter:
    """``play`` returns sentences about what went wrong; none means that all went well."""

    title: str
    play: Callable[[Stage], Awaitable[list[str]]]


def _chapter(module: Any) -> Chapter:
    return Chapter(module.TITLE, module.play)


CHAPTERS = (_chapter(payments),)
