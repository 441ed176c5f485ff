"""Celery tasks for settlements. Each is one call into ``workflows``; no rules live here."""

from workers.app import app
from workers.line import Line, few_at_once
from workers.nudge import RECONCILE, SETTLEMENTS, publish
from workers.runtime import run, runtime
from workflows.settlements.close import close_settlements
from workflows.settlements.open_due import open_due as open_due_periods
from workflows.settlements.reconcile_due import reconcile_due

RECONCILED_AT_ONCE = 4
"""A quarter of a worker's threads, and as many as there are connections for long calls. A provider whose statements hang may
hold these; payments, refunds and sweeps have the others."""

MOST_WAITING = 100
"""As many as one sweep nudges. The next sweep nudges the others."""

_line = Line(places=RECONCILED_AT_ONCE, most_waiting=MOST_WAITING)


@app.task(name="settlements.close")
def close(settlement_ids: list[str]) -> None:
    """Close those of these settlements that are due. Safe to deliver twice, late, or never: see ``workers.payments``.

    Where beat was away for days, the next period of a store is due as soon as one is closed: those are nudged at once.
    """
    following = run(close_settlements(settlement_ids, worker=runtime().worker))
    if following:
        publish(SETTLEMENTS, following)


@app.task(name="settlements.open_due")
def open_due() -> None:
    """Open the first periods of new stores and currencies, and plan those whose store changed its rule."""
    run(open_due_periods(worker=runtime().worker))


@app.task(name="settlements.reconcile")
@few_at_once(_line, task=RECONCILE)
def reconcile(settlement_ids: list[str]) -> None:
    """Fetch the statements of these settlements and reconcile them. Safe to deliver twice, late, or never.

    If there is no place for one of them, it waits without a thread and is nudged when there is a place.
    """
    ours = runtime()
    for one in settlement_ids:
        run(reconcile_due(one, worker=ours.worker, settings=ours.settings, providers=ours.providers))
