"""Canaries: a message through each queue now and then, to see that somebody consumes there."""

from workers.app import app
from workers.runtime import run
from workflows.canaries import note_consumed


@app.task(name="canaries.sing", bind=True)
def sing(self, queue: str) -> None:  # type: ignore[no-untyped-def]  # the task itself, untyped as all of Celery
    """Note that ``queue`` is consumed, and by whom."""
    run(note_consumed(queue, worker=str(self.request.hostname)))
