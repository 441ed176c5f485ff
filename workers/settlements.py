"""Celery tasks for settlements. Each makes one call into ``workflows``."""

from workers.app import HOUSEKEEPING, app
from workers.concurrency_limit import ConcurrencyLimit, limit_concurrency
from workers.nudge import RECONCILE, SETTLEMENTS, publish
from workers.runtime import run, runtime
from workflows.processing.task_summary import TextSummary
from workflows.reconciliation.auto_reconcile import reconcile_due
from workflows.settlements.close import CloseResult, close_settlements
from workflows.settlements.open_periods import open_due_periods

RECONCILED_AT_ONCE = 4
"""Settlements that a worker reconciles concurrently: as many as it has connections for long calls.

If a provider's statements hang, they occupy a quarter of the worker's threads; the others are free for other work.
"""

MAX_WAITING = 100
"""Settlements that may wait for a slot, as many as one sweep nudges. The next sweep nudges the others."""

_reconciliations = ConcurrencyLimit(slots=RECONCILED_AT_ONCE, max_waiting=MAX_WAITING)


@app.task(name="settlements.close")
def close(settlement_ids: list[str]) -> TextSummary:
    """Close the given settlements that are due.

    Duplicate, late or lost messages are harmless (``workers.payments``). After an outage of several days, the next period of a
    store is due as soon as the one before it is closed. Such periods are nudged at once.
    """
    return _nudge_following(run(close_settlements(settlement_ids, worker=runtime().worker)))


def _nudge_following(closed: CloseResult) -> TextSummary:
    if closed.following:
        publish(SETTLEMENTS, closed.following)
    return closed.outcome


@app.task(name="settlements.open_due", **HOUSEKEEPING)
def open_due() -> TextSummary | None:
    """Open the first periods of stores and currencies, and reschedule open periods.

    Open periods are rescheduled after a change of a cut-off rule.
    """
    opened = run(open_due_periods(worker=runtime().worker))
    return TextSummary(f"{opened} periods opened or rescheduled") if opened else None


@app.task(name="settlements.reconcile")
@limit_concurrency(_reconciliations, task=RECONCILE)
def reconcile(settlement_ids: list[str]) -> list[TextSummary]:
    """Fetch the statements of settlements and reconcile them.

    Duplicate, late or lost messages are harmless. If no slot is free, a settlement waits without occupying a thread, and is
    nudged when a slot is free.
    """
    objects = runtime()
    return [
        run(reconcile_due(settlement_id, worker=objects.worker, settings=objects.settings, providers=objects.providers))
        for settlement_id in settlement_ids
    ]
