"""Celery tasks for payments. Each makes one call into ``workflows``."""

from workers.app import app
from workers.runtime import runtime
from workers.task_classes import LoopTask
from workflows.processing.task_summary import TaskSummary


@app.task(name="payments.process", base=LoopTask)
async def process(payment_ids: list[str]) -> TaskSummary:
    """Take the next step of each payment. The message may be delivered twice, late or not at all.

    The message is only a nudge and the state is in the rows: ``beat.sweeps`` finds any payment whose nudge was lost.
    """
    return await runtime().payments.process(payment_ids)
