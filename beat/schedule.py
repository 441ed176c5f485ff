"""The timetable. Beat does no work and stores no state: while it is down, periodic work is only delayed."""

from typing import Any

SWEEP_SECONDS = 1.0  # the finest grain of retries, questions and polls; one index look-up each
AHEAD_SECONDS = 10.0  # a database clock that was set back delays a payment by seconds and not by an hour
PERIODS_SECONDS = 60.0  # a new store has its first period, a changed rule its effect, within a minute
RECONCILE_SECONDS = 15.0  # statements come by the hour; who has just counted the cash is not kept waiting
INVARIANTS_SECONDS = 3_600.0  # bounded: a minute of one processor at most (workflows.invariants.scheduled)
HOUSEKEEPING_SECONDS = 30.0  # expired keys are thrown away for up to 20 s, a thousand per transaction


def entry(task: str, seconds: float) -> dict[str, Any]:
    """Return one entry of the timetable: the task, and the seconds between two messages for it."""
    return {"task": task, "schedule": seconds}


def timetable(*, scale: float = 1.0) -> dict[str, dict[str, Any]]:
    """All of it. ``scale`` below 1 shortens the pauses, though none below those of the sweeps."""
    return {name: entry(task, max(SWEEP_SECONDS, seconds * scale)) for name, (task, seconds) in ENTRIES.items()}


ENTRIES = {
    "sweep-payments": ("sweeps.payments", SWEEP_SECONDS),
    "sweep-refunds": ("sweeps.refunds", SWEEP_SECONDS),
    "sweep-ahead": ("sweeps.ahead", AHEAD_SECONDS),
    "sweep-settlements": ("sweeps.settlements", SWEEP_SECONDS),
    "sweep-reconciliations": ("sweeps.reconciliations", RECONCILE_SECONDS),
    "open-settlements": ("settlements.open_due", PERIODS_SECONDS),
    "check-invariants": ("sweeps.invariants", INVARIANTS_SECONDS),
    "forget-expired": ("sweeps.forget_expired", HOUSEKEEPING_SECONDS),
}
