"""Tells the supervisor that a worker consumes: loaded into workers by ``celery worker --include``.

Celery offers a worker's readiness only as a signal inside it or as an answer to a broadcast, which would cost the
supervisor an import of Celery and up to a second. Without ``WORKER_READY_FILE`` it does nothing.
"""

import os
from pathlib import Path

from celery.signals import worker_ready

from mpac.stack.probes import READY_FILE_VARIABLE


def announce(**_signal: object) -> None:
    """Write our pid where the supervisor looks."""
    file = os.environ.get(READY_FILE_VARIABLE)
    if file:
        temporary = Path(f"{file}.new")
        temporary.write_text(str(os.getpid()))
        temporary.replace(file)


worker_ready.connect(announce, weak=False)  # not as a decorator: Celery's are untyped
