"""Start and stop the rival ``orm_celery``, which this folder's README describes."""

from benchmarks.rivals.rival import Rival
from mpac.stack import commands
from mpac.stack.service_process import ServiceProcess


class OrmCelery(Rival):
    """The rival with a synchronous route, ORM sessions and one Celery task per payment."""

    name = "orm_celery"
    broker_database = 1

    def _workers(self) -> tuple[ServiceProcess, ...]:
        celery = commands.CELERY[: commands.CELERY.index("--app")]
        command = (
            *(*celery, "--app", "benchmarks.rivals.orm_celery.worker:app", "worker", "--pool", "threads"),
            *("--concurrency", "32", "--task-events", "--without-gossip", "--without-mingle"),
        )
        return (self._worker("rival-worker", command),)
