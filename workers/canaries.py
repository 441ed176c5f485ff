"""Celery tasks that consume canaries: messages that prove that a queue is consumed, or that a worker consumes."""

from workers.app import HOUSEKEEPING, app
from workers.consumption_check import record_arrival
from workers.runtime import run, runtime
from workflows.ops.liveness import note_consumed


@app.task(name="canaries.sing", **HOUSEKEEPING)
def acknowledge(queue: str) -> None:
    """Record that this worker consumes ``queue``."""
    run(note_consumed(queue, worker=runtime().worker))


@app.task(name="canaries.hear", **HOUSEKEEPING)
def acknowledge_own() -> None:
    """Record that this worker consumes messages. The canary came over the queue of this worker alone."""
    run(record_arrival())
