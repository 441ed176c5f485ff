"""Define the classes of Celery tasks: what happens to a task that fails, and where a coroutine runs."""

from typing import Any

from celery import Task

from workers import dead_letters, runtime, task_events


class DeadLetterTask(Task):
    """A task that stores a dead letter, with the traceback, when it fails."""

    Request = "workers.task_events:ReportingRequest"
    throws = dead_letters.TRANSIENT

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task, unless its message has been delivered too often."""
        if dead_letters.exceeded_max_deliveries(self):
            return None
        return task_events.remember_result(self.result_of(super().__call__(*args, **kwargs)))

    def result_of(self, returned: Any) -> Any:
        """Return the result of the task, whose function has ``returned``."""
        return returned

    def on_failure(  # noqa: PLR0917 - the signature is Celery's
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Store a dead letter. Celery calls this when the task has raised."""
        dead_letters.store_failure(self.name, task_id, arguments=[args, kwargs], error=exc, trace=str(einfo))


class LoopTask(DeadLetterTask):
    """A task whose function is a coroutine function, so that ``workers.loop_pool`` can run it on the event loop."""

    abstract = True

    def __init__(self) -> None:
        self.errors: dict[str, BaseException] = {}
        """The id of a message → what its coroutine raised on the event loop."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the coroutine for the calling thread, or raise what it raised on the event loop.

        Celery calls this in a thread, and handles the error there.
        """
        if error := self.errors.pop(self.request.id, None):
            raise error
        return super().__call__(*args, **kwargs)

    def result_of(self, returned: Any) -> Any:
        """Run the coroutine that the task's function has returned, and wait for its result."""
        return runtime.run(returned)
