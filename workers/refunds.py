"""Celery tasks for refunds. Each is one call into ``workflows``; no rules live here."""

from workers.app import app
from workers.runtime import run, runtime


@app.task(name="refunds.process")
def process(refund_ids: list[str]) -> None:
    """Advance these refunds. Safe to deliver twice, late, or never: see ``workers.payments``."""
    run(runtime().refunds.process(refund_ids))
