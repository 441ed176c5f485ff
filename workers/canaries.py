"""Canaries: a message through each queue now and then, to see that somebody consumes there."""

from workers.app import app
from workers.runtime import run, runtime
from workflows.canaries import note_consumed


@app.task(name="canaries.sing")
def sing(queue: str) -> None:
    """Note that ``queue`` is consumed, and by whom."""
    run(note_consumed(queue, worker=runtime().worker))
