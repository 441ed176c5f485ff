"""Celery tasks for payments. Each makes one call into ``workflows`` and holds no rules."""

from workers.app import app
from workers.runtime import run, runtime
from workflows.processing.task_summary import TaskSummary


@app.task(name="payments.process")
def process(payment_ids: list[str]) -> TaskSummary:
    """Advance these payments. The message may be delivered twice, late or not at all.

    The rows hold the truth and the message is only a nudge: ``beat.sweeps`` finds any payment whose nudge was lost.
    """
    outcome: TaskSummary = run(runtime().payments.process(payment_ids))
    return outcome
