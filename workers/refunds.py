"""Celery tasks for refunds. Each makes one call into ``workflows`` and holds no rules."""

from workers.app import app
from workers.runtime import run, runtime
from workflows.processing.task_summary import TaskSummary


@app.task(name="refunds.process")
def process(refund_ids: list[str]) -> TaskSummary:
    """Advance these refunds. The message may be delivered twice, late or not at all: see ``workers.payments``."""
    outcome: TaskSummary = run(runtime().refunds.process(refund_ids))
    return outcome
