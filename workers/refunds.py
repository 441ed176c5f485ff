"""Celery tasks for refunds. Each makes one call into ``workflows``."""

from workers.app import app
from workers.runtime import runtime
from workers.task_classes import LoopTask
from workflows.processing.task_summary import TaskSummary


@app.task(name="refunds.process", base=LoopTask)
async def process(refund_ids: list[str]) -> TaskSummary:
    """Take the next step of each refund.

    The message may be delivered twice, late or not at all (``workers.payments``).
    """
    return await runtime().refunds.process(refund_ids)
