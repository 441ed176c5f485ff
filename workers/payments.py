"""Celery tasks for payments. Each is one call into ``workflows``; no rules live here."""

from workers.app import app
from workers.runtime import run, runtime
from workflows.processing.outcome import Outcome


@app.task(name="payments.process")
def process(payment_ids: list[str]) -> Outcome:
    """Advance these payments. Safe to deliver twice, late, or never.

    The rows are the truth and this message only a nudge: ``beat.sweeps`` finds any payment whose nudge was lost.
    """
    outcome: Outcome = run(runtime().payments.process(payment_ids))
    return outcome
