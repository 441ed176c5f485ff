"""The timetable of periodic tasks. Beat only sends their messages and stores no state; while it is down, work is delayed."""

from typing import Any

from workers.nudge import DUE

SWEEP_SECONDS = 1.0  # the resolution of retries, inquiries and polls; a sweep is one message and three short reads
AHEAD_SECONDS = 10.0  # after the database's clock was set back, payments are delayed by seconds rather than by an hour
PERIODS_SECONDS = 60.0  # a new store gets its first period, and a changed rule takes effect, within a minute
RECONCILE_SECONDS = 15.0  # statements arrive by the hour, but a cash count is picked up within seconds
INVARIANTS_SECONDS = 3_600.0  # a check takes at most a minute of one CPU (workflows.invariants.scheduled)
MONTHS_SECONDS = 1_800.0  # a month is made months ahead; several tries fit into an hour in which its lock is busy
HOUSEKEEPING_SECONDS = 30.0  # deletes expired keys for up to 20 s, a thousand per transaction


def entry(task: str, seconds: float) -> dict[str, Any]:
    """Return an entry of the timetable: a task, and the seconds between two messages for it."""
    return {"task": task, "schedule": seconds}


def timetable(*, scale: float = 1.0) -> dict[str, dict[str, Any]]:
    """Return the whole timetable.

    A ``scale`` below 1 shortens the intervals, but none to less than ``SWEEP_SECONDS``.
    """
    return {name: entry(task, max(SWEEP_SECONDS, seconds * scale)) for name, (task, seconds) in ENTRIES.items()}


ENTRIES = {
    "sweep-due": (DUE, SWEEP_SECONDS),
    "sweep-ahead": ("sweeps.ahead", AHEAD_SECONDS),
    "sweep-reconciliations": ("sweeps.reconciliations", RECONCILE_SECONDS),
    "open-settlements": ("settlements.open_due", PERIODS_SECONDS),
    "check-invariants": ("sweeps.invariants", INVARIANTS_SECONDS),
    "make-months": ("sweeps.months", MONTHS_SECONDS),
    "forget-expired": ("sweeps.forget_expired", HOUSEKEEPING_SECONDS),
}
