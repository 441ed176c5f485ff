"""Summarise what a task did with its rows, in a short text that Flower shows.

The text holds counts, ids and values of our own tables. It never holds amounts, names or text written by a provider.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from workflows.bills.lock import BillLocked
from workflows.processing.decision import Decision

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


RowOutcome = tuple[str, bool]
"""How a row ended, as a short text, and whether it is still open."""

LEFT_TO_SWEEP: RowOutcome = ("left to the sweep", True)


def row_outcome(status: str | BillLocked | None, decided: Decision) -> RowOutcome:
    """Return how a row ended; ``status`` is its present status."""
    if status is None:
        return "taken over", False
    if status == "failed":
        return failed(decided.code), False
    if status != "processing":
        return str(status), False
    if not decided.outcome_known:
        return ("in doubt, needs review" if decided.needs_review else "in doubt"), True
    if decided.needs_review:
        return "needs review", True
    return ("waits for the customer" if decided.next_action or decided.preserve_action else "tried again later"), False


def collect_outcomes(begun: "Sequence[asyncio.Task[RowOutcome | None]]", *, count: int) -> Outcome:
    """Return how these rows ended. If some are still running, ``later`` will hold the complete outcome."""
    under_way = [task for task in begun if not task.done()]
    if not under_way:
        return _counted(begun, count=count)
    later: Future[Outcome] = Future()
    left = len(under_way)

    def one_less(_task: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            later.set_result(_counted(begun, count=count))

    for task in under_way:
        task.add_done_callback(one_less)
    return Outcome(Counter({"at the provider": len(under_way)}), later=later)


def _counted(tasks: "Sequence[asyncio.Task[RowOutcome | None]]", *, count: int) -> Outcome:
    outcome = Outcome()
    for task in tasks:
        way, is_open = LEFT_TO_SWEEP if task.cancelled() else task.result() or LEFT_TO_SWEEP
        outcome.add(way, is_open=is_open)
    if count > len(tasks):
        outcome.counts["not claimed"] = count - len(tasks)
    return outcome
