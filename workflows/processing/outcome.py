"""Summarise what a task did with its rows, in a short text that Flower shows.

The text holds counts, ids and values of our own tables. It never holds amounts, names or text written by a provider.
"""

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

CODE = re.compile(r"[a-z]+(_[a-z]+){0,5}")
"""A code that may be shown: ours, and most of the providers'. A code with digits could contain personal data."""


@dataclass(slots=True)
class Outcome:
    """How many rows ended in which way. ``open`` are the ways that leave a row open.

    ``later`` is set if some rows are still at a provider: it gets the complete outcome when they have ended.
    """

    counts: Counter[str] = field(default_factory=Counter)
    open: set[str] = field(default_factory=set)
    later: "Future[Outcome] | None" = None

    def add(self, way: str, *, is_open: bool = False) -> None:
        """Count one row that ended in this way."""
        self.counts[way] += 1
        if is_open:
            self.open.add(way)

    @property
    def is_open(self) -> bool:
        """Whether a row is in doubt, waits for a person or was not recorded."""
        return bool(self.open)

    def __repr__(self) -> str:
        return ", ".join(f"{count} {way}" for way, count in self.counts.items()) or "nothing to do"


def failed(code: str | None) -> str:
    """Return the text for a row that failed with ``code``."""
    return f"failed: {code}" if code and CODE.fullmatch(code) else "failed"


class Summary:
    """A text whose ``repr`` is itself: Celery shows a result by its ``repr``."""

    later: "Future[Outcome] | None" = None

    def __init__(self, text: str, *, is_open: bool = False) -> None:
        self.text = text
        self.is_open = is_open

    def __repr__(self) -> str:
        return self.text


def combined(summaries: Sequence[Summary], *, waiting: int) -> Summary:
    """Return several outcomes as one, with how many rows wait for a place."""
    texts = [one.text for one in summaries] + ([f"{waiting} wait for a place"] if waiting else [])
    return Summary("; ".join(texts) or "nothing to do", is_open=any(one.is_open for one in summaries))
