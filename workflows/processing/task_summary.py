"""Summarise what a task did with its rows, in a short text that Flower shows.

The text holds counts, ids and values of our own tables. It never holds amounts, names or text written by a provider.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from workflows.processing.decision import Decision

CODE = re.compile(r"[a-z]+(_[a-z]+){0,5}")
"""A code that may be shown: ours, and most of the providers'. A code with digits could contain personal data."""


class RowSummary(NamedTuple):
    """How the step of a row ended, as a short text, and whether the row is open (``TaskSummary.is_open``)."""

    text: str
    is_open: bool


LEFT_TO_SWEEP = RowSummary("left to the sweep", is_open=True)


@dataclass(slots=True)
class TaskSummary:
    """How many rows ended with which text. ``open`` has the texts that leave a row open.

    ``later`` is set if some rows are still at a provider: it receives the complete summary when they have ended.
    """

    counts: Counter[str] = field(default_factory=Counter)
    open: set[str] = field(default_factory=set)
    later: "Future[TaskSummary] | None" = None

    def add(self, text: str, *, is_open: bool = False) -> None:
        """Count one row that ended with this text."""
        self.counts[text] += 1
        if is_open:
            self.open.add(text)

    @property
    def is_open(self) -> bool:
        """Whether a row is in doubt, waits for a person or was not recorded."""
        return bool(self.open)

    def __repr__(self) -> str:
        return ", ".join(f"{count} {text}" for text, count in self.counts.items()) or "nothing to do"


class TextSummary:
    """A summary that is a given text. It is its own ``repr``, because Celery shows a task's result by its ``repr``."""

    later: "Future[TaskSummary] | None" = None

    def __init__(self, text: str, *, is_open: bool = False) -> None:
        self.text = text
        self.is_open = is_open

    def __repr__(self) -> str:
        return self.text


def failed_text(code: str | None) -> str:
    """Return the text for a row that failed with ``code``."""
    return f"failed: {code}" if code and CODE.fullmatch(code) else "failed"


def combine_summaries(summaries: Sequence[TextSummary], *, waiting: int = 0) -> TextSummary:
    """Return several summaries as one, with the number of rows that wait for a slot."""
    texts = [summary.text for summary in summaries] + ([f"{waiting} wait for a slot"] if waiting else [])
    return TextSummary("; ".join(texts) or "nothing to do", is_open=any(summary.is_open for summary in summaries))


def summarise_row(status: str | None, decision: Decision) -> RowSummary:
    """Return the summary of a row with this status (``None``: another worker has taken it over)."""
    if status is None:
        return RowSummary("taken over", is_open=False)
    if status == "failed":
        return RowSummary(failed_text(decision.code), is_open=False)
    if status != "processing":
        return RowSummary(status, is_open=False)
    if not decision.outcome_known:
        return RowSummary("in doubt, needs review" if decision.needs_review else "in doubt", is_open=True)
    if decision.needs_review:
        return RowSummary("needs review", is_open=True)
    waits_for_customer = decision.next_action or decision.preserve_action
    return RowSummary("waits for the customer" if waits_for_customer else "tried again later", is_open=False)


def summarise_task(tasks: "Sequence[asyncio.Task[RowSummary]]", *, count: int) -> TaskSummary:
    """Return the summary of a task's ``count`` rows, of which those in ``tasks`` were claimed.

    If some rows are still being processed, the future ``later`` of the summary receives the complete summary.
    """
    running = [task for task in tasks if not task.done()]
    if not running:
        return _count(tasks, count=count)
    later: Future[TaskSummary] = Future()
    left = len(running)

    def on_done(_task: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            later.set_result(_count(tasks, count=count))

    for task in running:
        task.add_done_callback(on_done)
    return TaskSummary(Counter({"at the provider": len(running)}), later=later)


def _count(tasks: "Sequence[asyncio.Task[RowSummary]]", *, count: int) -> TaskSummary:
    summary = TaskSummary()
    for task in tasks:
        row = LEFT_TO_SWEEP if task.cancelled() else task.result()
        summary.add(row.text, is_open=row.is_open)
    if count > len(tasks):
        summary.counts["not claimed"] = count - len(tasks)
    return summary
