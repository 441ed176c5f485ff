"""Summarise how the rows of a task ended (``outcome``), for payments and refunds alike."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future

from workflows.bills.lock import BillLocked
from workflows.processing.decide import Decision
from workflows.processing.outcome import Outcome, failed

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
