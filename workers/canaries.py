"""Canaries: a message through each queue, and to each worker, now and then, to see whether it is consumed."""

from workers.app import HOUSEKEEPING, app
from workers.consumption_check import note_heard
from workers.runtime import run, runtime
from workflows.ops.canaries import note_consumed


@app.task(name="canaries.sing", **HOUSEKEEPING)
def acknowledge(queue: str) -> None:
    """Note that ``queue`` is consumed, and by whom."""
    run(note_consumed(queue, worker=runtime().worker))


@app.task(name="canaries.hear", **HOUSEKEEPING)
def acknowledge_own() -> None:
    """Note that this worker consumes messages."""
    run(note_heard())
