"""Find rows that are due, and nudge the tasks that process them.

Sweeps run on the queue ``sweeps`` and change no row. A row that was nudged a moment ago is not nudged again at the next tick,
because the first message may still wait in its queue. Two concurrent sweeps nudge a row twice, which is harmless.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Awaitable

from beat.beat_monitor import monitor
from beat.timetable import INVARIANTS_SECONDS
from workers.app import HOUSEKEEPING, app, settings
from workers.nudge import MAX_IDS, PAYMENTS, RECONCILE, REFUNDS, SETTLEMENTS, publish
from workers.runtime import run
from workers.task_classes import LoopTask
from workflows.database.metrics_buffer import count_swept_rows
from workflows.invariants.scheduled import check_on_schedule
from workflows.ops.housekeeping import forget_expired
from workflows.ops.make_months import analyze_months, make_months
from workflows.processing.due import (
    DueRow,
    find_due_payments,
    find_due_refunds,
    find_payments_ahead,
    find_refunds_ahead,
)
from workflows.processing.task_summary import TextSummary, combine_summaries
from workflows.reconciliation.auto_reconcile import find_due_reconciliations
from workflows.settlements.close import find_due_settlements

logger = logging.getLogger(__name__)

PAGE = 5_000
"""Rows per sweep. At one sweep a second this is more than a worker can process."""

RECONCILIATIONS = 100
"""Settlements per sweep. Each is nudged with a separate message, because a large one takes more than a minute."""

CLOSES_PER_PAGE, CLOSES_UNDER_WAY = 50, 100
"""Settlements per message, and the largest number of nudged settlements that are not closed yet.

The day of ten thousand stores may end in the same minute. At most two messages are nudged until some of their settlements are
closed, so that worker threads and database CPUs stay free for payments.
"""

NUDGE_AGAIN_SECONDS = 3 * settings.nudge_grace_seconds
"""Seconds after which a row that is still due for the same reason is nudged again: its worker may have been killed.

This is longer than the grace of a new row, because many rows are due at once when a worker returns after an outage.
"""

POLL = "poll"
"""The reason of rows that poll a waiting QR code, every few seconds. Flower does not show a sweep that found only these."""

_nudged: dict[DueRow, float] = {}
"""Row and due time → when that row may be nudged again (monotonic seconds)."""

_nudging = threading.Lock()
"""Guards ``_nudged``: sweeps run concurrently, each in a thread."""


@app.task(name="sweeps.due", base=LoopTask, **HOUSEKEEPING)
async def due() -> TextSummary | None:
    """Nudge every payment, refund and settlement that is due. Beat sends this every second.

    A payment is due after a lost nudge or an expired lease, or for a retry, inquiry, poll or expiry. A kind of row that cannot
    be swept does not hold up the others; its error is raised at the end.
    """
    monitor.message_arrived()
    found = [await _try(find_due_payments(limit=PAGE)), await _try(find_due_refunds(limit=PAGE))]
    found.append(await _try(find_due_settlements(limit=CLOSES_UNDER_WAY)))
    errors = [rows for rows in found if isinstance(rows, Exception)]
    due_rows = [rows if isinstance(rows, list) else [] for rows in found]
    # Almost every sweep finds nothing, and ends here without a thread: publishing may wait for the broker.
    summary = await asyncio.to_thread(_nudge_all, *due_rows) if any(due_rows) else None
    if errors:
        raise errors[0]
    return summary


async def _try(finding: Awaitable[list[DueRow]]) -> list[DueRow] | Exception:
    try:
        return await finding
    except Exception as error:  # raised by ``due``, once the other kinds of rows are nudged
        return error


def _nudge_all(payments: list[DueRow], refunds: list[DueRow], settlements: list[DueRow]) -> TextSummary | None:
    summaries = (
        _nudge(PAYMENTS, payments),
        _nudge(REFUNDS, refunds),
        _nudge(SETTLEMENTS, settlements, page_size=CLOSES_PER_PAGE),
    )
    found = [summary for summary in summaries if summary]
    return combine_summaries(found) if found else None


@app.task(name="sweeps.payments", base=LoopTask, **HOUSEKEEPING)
async def payments() -> TextSummary | None:
    """Sweep everything for a beat of the previous release, which does not send ``sweeps.due``."""
    summary: TextSummary | None = await due.run()
    return summary


@app.task(name="sweeps.refunds", **HOUSEKEEPING)
def refunds() -> None:
    """Ignore the second message of a beat of the previous release: the first swept everything."""


@app.task(name="sweeps.settlements", **HOUSEKEEPING)
def settlements() -> None:
    """Ignore the third message of a beat of the previous release, like the second."""


@app.task(name="sweeps.ahead", **HOUSEKEEPING)
def rows_due_too_late() -> TextSummary | None:
    """Nudge rows that are due later than any schedule allows, because the database's clock was set back."""
    payments_nudged = _nudge(PAYMENTS, run(find_payments_ahead(limit=PAGE, settings=settings)))
    return _nudge(REFUNDS, run(find_refunds_ahead(limit=PAGE, settings=settings))) or payments_nudged


def _nudge(task: str, found: list[DueRow], *, page_size: int = MAX_IDS) -> TextSummary | None:
    """Nudge the rows of ``found`` that were not nudged a moment ago. Return a summary for Flower."""
    now = time.monotonic()
    due = _not_recently_nudged(found, now)
    for start in range(0, len(due), page_size):
        page = due[start : start + page_size]
        publish(task, [occasion.id for occasion in page])
        with _nudging:
            _nudged.update((occasion, now + NUDGE_AGAIN_SECONDS) for occasion in page)
    if not due:
        return None
    reasons = Counter(str(occasion.why) for occasion in due)
    run(count_swept_rows(task, reasons))
    logger.info("nudged %s for %s", task, dict(reasons))
    if reasons.keys() == {POLL}:
        return None
    return TextSummary(f"nudged {', '.join(f'{count} {why}' for why, count in reasons.items())}")


def _not_recently_nudged(found: list[DueRow], now: float) -> list[DueRow]:
    with _nudging:
        for occasion in [occasion for occasion, until in _nudged.items() if until < now]:
            del _nudged[occasion]
        return [occasion for occasion in found if occasion not in _nudged]


@app.task(name="sweeps.reconciliations", **HOUSEKEEPING)
def reconciliations() -> TextSummary | None:
    """Nudge every settlement whose statements are due, or whose cash was just counted."""
    return _nudge(RECONCILE, run(find_due_reconciliations(limit=RECONCILIATIONS, settings=settings)), page_size=1)


@app.task(name="sweeps.invariants", **HOUSEKEEPING)
def invariants() -> TextSummary | None:
    """Check the invariants, unless they were checked in this period already (by a second beat's message)."""
    period = INVARIANTS_SECONDS * settings.timetable_scale * 0.9  # a margin, because clocks and queues are not exact
    count = run(check_on_schedule(period_seconds=period, review_after_seconds=settings.review_after_seconds))
    return TextSummary(f"tried {count} rules") if count else None


@app.task(name="sweeps.canaries", **HOUSEKEEPING)
def canaries() -> None:
    """Ignore the canaries of a beat of the previous release.

    Such a beat still sends this task; today ``beat.beat_monitor`` sends the canaries.
    """


@app.task(name="sweeps.forget_expired", **HOUSEKEEPING)
def purge_expired() -> TextSummary | None:
    """Delete expired idempotency records and client assertions."""
    count = run(forget_expired())
    return TextSummary(f"deleted {count} expired") if count else None


@app.task(name="sweeps.months", **HOUSEKEEPING)
def months() -> TextSummary | None:
    """Make the partitions of coming months, and analyze a partitioned table whose statistics are old."""
    count, analyzed = run(make_months()), run(analyze_months())
    done = [f"made {count} months"] * bool(count) + [f"analyzed {analyzed}"] * bool(analyzed)
    return TextSummary(", ".join(done)) if done else None
