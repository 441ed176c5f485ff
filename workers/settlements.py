"""Celery tasks for settlements. Each is one call into ``workflows``; no rules live here."""

from workers.app import HOUSEKEEPING, app
from workers.concurrency_limit import ConcurrencyLimit, limit_concurrency
from workers.nudge import RECONCILE, SETTLEMENTS, publish
from workers.runtime import run, runtime
from workflows.processing.task_summary import TextSummary
from workflows.reconciliation.auto_reconcile import reconcile_due
from workflows.settlements.close import CloseResult, close_settlements
from workflows.settlements.open_periods import open_due_periods

RECONCILED_AT_ONCE = 4
"""A quarter of a worker's threads, and the number of connections for long calls. A provider whose statements hang occupies at
most these threads; payments, refunds and sweeps use the others."""

MAX_WAITING = 100
"""The number of settlements that one sweep nudges. The next sweep nudges the others."""

_reconciliations = ConcurrencyLimit(slots=RECONCILED_AT_ONCE, max_waiting=MAX_WAITING)


@app.task(name="settlements.close")
def close(settlement_ids: list[str]) -> TextSummary:
    """Close the given settlements that are due.

    Safe to deliver twice, late or never (see ``workers.payments``). After an outage of days the next period of a store is due
    as soon as one is closed; such periods are nudged at once.
    """
    return _nudge_following(run(close_settlements(settlement_ids, worker=runtime().worker)))


def _nudge_following(closed: CloseResult) -> TextSummary:
    if closed.following:
        publish(SETTLEMENTS, closed.following)
    return closed.outcome


@app.task(name="settlements.open_due", **HOUSEKEEPING)
def open_due() -> TextSummary | None:
    """Open the first periods of stores and currencies, and reschedule periods after a change of rule."""
    opened = run(open_due_periods(worker=runtime().worker))
    return TextSummary(f"{opened} periods opened or rescheduled") if opened else None


@app.task(name="settlements.reconcile")
@limit_concurrency(_reconciliations, task=RECONCILE)
def reconcile(settlement_ids: list[str]) -> list[TextSummary]:
    """Fetch the statements of settlements and reconcile them. Safe to deliver twice, late or never.

    If no slot is free, a settlement waits without occupying a thread, and is nudged when a slot is free.
    """
    ours = runtime()
    return [
        run(reconcile_due(one, worker=ours.worker, settings=ours.settings, providers=ours.providers))
        for one in settlement_ids
    ]
