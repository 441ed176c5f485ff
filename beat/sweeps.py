"""Sweeps: find what is due and nudge the task for it.

They run on the ``sweeps`` queue and change nothing themselves. What was nudged a moment ago is not nudged again at every
tick: its message may simply be waiting behind others. Two sweeps at once only nudge twice, which is harmless.
"""

import logging
import threading
import time
from collections import Counter

from beat.schedule import INVARIANTS_SECONDS
from beat.watch import watch
from workers.app import HOUSEKEEPING, app, settings
from workers.nudge import MAX_IDS, PAYMENTS, RECONCILE, REFUNDS, SETTLEMENTS, publish
from workers.runtime import run
from workflows.database.metric_counts import count_found
from workflows.invariants.scheduled import check_on_schedule
from workflows.ops.housekeeping import forget_expired
from workflows.payments.due import find_due_payments, find_payments_ahead
from workflows.processing.due import DueRow
from workflows.processing.outcome import Said
from workflows.reconciliation.auto_reconcile import find_due_reconciliations
from workflows.refunds.due import find_due_refunds, find_refunds_ahead
from workflows.settlements.due import find_due_settlements

logger = logging.getLogger(__name__)

PAGE = 5_000
"""Rows one sweep looks at: at one sweep a second, more than a worker can do."""

RECONCILIATIONS = 100
"""Settlements that one sweep has reconciled, each by a task of its own: a large one takes a minute and more."""

CLOSES_PER_PAGE, CLOSES_UNDER_WAY = 50, 100
"""Ten thousand stores may end their day at the same minute. No more than two pages are nudged until some of them are
closed, so that closing takes neither every thread of a worker nor both processors of the database from payments."""

NUDGE_AGAIN_SECONDS = 3 * settings.nudge_grace_seconds
"""After this, a row that is still due on the same occasion has probably lost its nudge, for instance with a worker that
was killed. Longer than a new row's own grace: many rows are due at once when a worker comes back."""

POLL = "poll"
"""A waiting code is looked at every few seconds: a sweep that found nothing else is not worth a row in Flower."""

_nudged: dict[DueRow, float] = {}
"""Occasion (a row and when it became due) → until when its nudge is given time."""

_nudging = threading.Lock()
"""Several sweeps run at once, each in a thread: while one looks through what was nudged, no other may change it."""


@app.task(name="sweeps.payments", **HOUSEKEEPING)
def payments() -> Said | None:
    """Nudge every payment that is due: lost nudges, run-out leases, retries, questions, polls, expiry."""
    watch.heard()
    return _nudge(PAYMENTS, run(find_due_payments(limit=PAGE)))


@app.task(name="sweeps.refunds", **HOUSEKEEPING)
def refunds() -> Said | None:
    """Nudge every refund that is due."""
    watch.heard()
    return _nudge(REFUNDS, run(find_due_refunds(limit=PAGE)))


@app.task(name="sweeps.ahead", **HOUSEKEEPING)
def ahead() -> Said | None:
    """Nudge rows that are due later than any schedule sets them: the database's clock was set back."""
    ours = _nudge(PAYMENTS, run(find_payments_ahead(limit=PAGE, settings=settings)))
    return _nudge(REFUNDS, run(find_refunds_ahead(limit=PAGE, settings=settings))) or ours


@app.task(name="sweeps.settlements", **HOUSEKEEPING)
def settlements() -> Said | None:
    """Nudge the settlements whose period has ended, in pages, a few at a time."""
    watch.heard()
    return _nudge(SETTLEMENTS, run(find_due_settlements(limit=CLOSES_UNDER_WAY)), page_size=CLOSES_PER_PAGE)


def _nudge(task: str, found: list[DueRow], *, page_size: int = MAX_IDS) -> Said | None:
    """Publish nudges for what was found; return what in words, or ``None`` if all of it was nudged a moment ago."""
    now = time.monotonic()
    due = _not_nudged_lately(found, now)
    for start in range(0, len(due), page_size):
        page = due[start : start + page_size]
        publish(task, [occasion.id for occasion in page])
        with _nudging:
            _nudged.update((occasion, now + NUDGE_AGAIN_SECONDS) for occasion in page)
    if not due:
        return None
    reasons = Counter(str(occasion.why) for occasion in due)
    run(count_found(task, reasons))
    logger.info("nudged %s for %s", task, dict(reasons))
    if reasons.keys() == {POLL}:
        return None
    return Said(f"nudged {', '.join(f'{count} {why}' for why, count in reasons.items())}")


def _not_nudged_lately(found: list[DueRow], now: float) -> list[DueRow]:
    with _nudging:
        for occasion in [occasion for occasion, until in _nudged.items() if until < now]:
            del _nudged[occasion]
        return [occasion for occasion in found if occasion not in _nudged]


@app.task(name="sweeps.reconciliations", **HOUSEKEEPING)
def reconciliations() -> Said | None:
    """Nudge every settlement whose statements are due, or which only waited for its cash."""
    return _nudge(RECONCILE, run(find_due_reconciliations(limit=RECONCILIATIONS, settings=settings)), page_size=1)


@app.task(name="sweeps.invariants", **HOUSEKEEPING)
def invariants() -> Said | None:
    """Check the invariants, unless that was done within the period: two beats, or one that has just started, send this too."""
    period = INVARIANTS_SECONDS * settings.timetable_scale * 0.9  # clocks and queues are not exact
    count = run(check_on_schedule(period_seconds=period, review_after_seconds=settings.review_after_seconds))
    return Said(f"tried {count} rules") if count else None


@app.task(name="sweeps.canaries", **HOUSEKEEPING)
def canaries() -> None:
    """Do nothing: ``beat.watch`` sends the canaries. A beat of the previous release still sends this."""


@app.task(name="sweeps.forget_expired", **HOUSEKEEPING)
def purge_expired() -> Said | None:
    """Throw away expired idempotency records and assertions."""
    count = run(forget_expired())
    return Said(f"deleted {count} expired") if count else None
