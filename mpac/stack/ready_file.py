"""Report to the supervisor, by a file, that a worker is ready.

A file costs the supervisor neither an import of Celery nor a broadcast of up to a second. Without ``WORKER_READY_FILE``
nothing is written.
"""

import os
import threading
import time
from pathlib import Path

from mpac.stack.probes import READY_FILE_VARIABLE

AGAIN_SECONDS = 1.0


def announce_ready() -> None:
    """Write our pid to the file that the supervisor reads."""
    file = os.environ.get(READY_FILE_VARIABLE)
    if file and not _write(Path(file)):
        threading.Thread(target=_write_until_successful, args=(Path(file),), name="announce", daemon=True).start()


def _write_until_successful(file: Path) -> None:
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
