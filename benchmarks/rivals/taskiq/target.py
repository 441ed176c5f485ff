"""Start and stop the rival ``taskiq``, which this folder's README describes."""

import sys

from benchmarks.rivals.rival import Rival
from mpac.stack.service_process import ServiceProcess

WORKERS = 1


class Taskiq(Rival):
    """The rival that is asynchronous from end to end, with one taskiq task per payment."""

    name = "taskiq"
    broker_database = 2

    def _workers(self) -> tuple[ServiceProcess, ...]:
        command = (
            *(sys.executable, "-m", "taskiq", "worker", "benchmarks.rivals.taskiq.worker:broker"),
            *("--workers", str(WORKERS), "--max-async-tasks", "512", "--max-prefetch", "512", "--no-parse"),
            *("--log-level", "WARNING"),
        )
        return (self._worker("rival-worker", command),)
