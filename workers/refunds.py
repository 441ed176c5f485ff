"""Celery tasks for refunds. Each makes one call into ``workflows``."""

from workers.app import app
from workers.runtime import run, runtime
from workflows.processing.task_summary import TaskSummary


@app.task(name="refunds.process")
def process(refund_ids: list[str]) -> TaskSummary:
    """Take the next step of each refund.

    The message may be delivered twice, late or not at all (``workers.payments``).
    """
    outcome: TaskSummary = run(runtime().refunds.process(refund_ids))
    return outcome
