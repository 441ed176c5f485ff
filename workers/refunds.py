"""Celery tasks for refunds. Each is one call into ``workflows``; no rules live here."""

from workers.app import app
from workers.runtime import run, runtime
from workflows.processing.outcome import Outcome


@app.task(name="refunds.process")
def process(refund_ids: list[str]) -> Outcome:
    """Advance these refunds. Safe to deliver twice, late, or never: see ``workers.payments``."""
    outcome: Outcome = run(runtime().refunds.process(refund_ids))
    return outcome
