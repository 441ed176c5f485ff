"""Tells the supervisor that a worker consumes: loaded into workers by ``celery worker --include``.

Celery offers a worker's readiness only as a signal inside it or as an answer to a broadcast, which would cost the
supervisor an import of Celery and up to a second. Without ``WORKER_READY_FILE`` it does nothing.
"""

import os
import threading
import time
from pathlib import Path

from celery.signals import worker_ready

from mpac.stack.probes import READY_FILE_VARIABLE

AGAIN_SECONDS = 1.0


def announce(**_signal: object) -> None:
    """Write our pid where the supervisor looks."""
    file = os.environ.get(READY_FILE_VARIABLE)
    if file and not _write(Path(file)):
        threading.Thread(target=_insist, args=(Path(file),), name="announce", daemon=True).start()


def _insist(file: Path) -> None:
    while not _write(file):
        time.sleep(AGAIN_SECONDS)


def _write(file: Path) -> bool:
    """Write the file; return False if that is not possible now, for instance because the disk is full."""
    temporary = file.with_name(f"{file.name}.new")
    try:
        temporary.write_text(str(os.getpid()))
        temporary.replace(file)
    except OSError:
        return False
    return True


worker_ready.connect(announce, weak=False)  # not as a decorator: Celery's are untyped
