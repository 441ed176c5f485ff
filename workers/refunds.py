"""Celery tasks for refunds. Each makes one call into ``workflows`` and holds no rules."""

from workers.app import app
from workers.runtime import run, runtime
from workflows.processing.task_summary import Outcome


@app.task(name="refunds.process")
def process(refund_ids: list[str]) -> Outcome:
    """Advance these refunds. The message may be delivered twice, late or not at all: see ``workers.payments``."""
    outcome: Outcome = run(runtime().refunds.process(refund_ids))
    return outcome
