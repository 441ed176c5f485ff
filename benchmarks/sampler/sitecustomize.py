"""A sampling profiler that Python loads at start-up in every process whose PYTHONPATH names this folder.

Nothing has to be installed, and no permission to inspect other processes is needed. A few hundred times a second, a thread
reads the stacks of all other threads, and adds to each stack the CPU time that its thread has used since the last sample. A
waiting thread adds nothing. The total of a thread is exact. Its distribution over functions is a sample, with a slight bias
towards places where Python switches threads.

The profiler sleeps until the file ``go`` is in ``BENCH_PROFILE_FOLDER``, and writes ``<pid>.json`` there once it is gone.
"""

import json
import os
import sys
import threading
import time
from collections import Counter
from functools import cache
from pathlib import Path
from types import FrameType

INTERVAL_SECONDS = 0.003
ASLEEP_SECONDS = 0.1
DEEPEST = 80  # frames of a stack; below are the event loop and the interpreter


@cache
def _place(file: str) -> str:
    """Return the path relative to site-packages, the standard library or the checkout.

    Its first part identifies the package or module that the code belongs to.
    """
    for folder in ("site-packages/", f"python{sys.version_info.major}.{sys.version_info.minor}/", f"{os.getcwd()}/"):
        _, found, rest = file.rpartition(folder)
        if found:
            return rest
    return file


def _stack(frame: FrameType | None) -> str:
    names: list[str] = []
    while frame is not None and len(names) < DEEPEST:
        code = frame.f_code
        names.append(f"{code.co_qualname} ({_place(code.co_filename)})")
        frame = frame.f_back
    return ";".join(reversed(names))


def _take_sample(spent: Counter[str], clocks: dict[int, int]) -> None:
    own = threading.get_ident()
    for ident, frame in sys._current_frames().items():
        if ident == own:
            continue
        # The thread is alive: it could only end while this thread does not hold the GIL, which it does since the line above.
        now = time.clock_gettime_ns(time.pthread_getcpuclockid(ident))
        before = clocks.get(ident)
        clocks[ident] = now
        if before is not None and now > before:
            spent[_stack(frame)] += now - before


def _sample(folder: Path) -> None:
    go = folder / "go"
    while True:
        while not go.exists():
            time.sleep(ASLEEP_SECONDS)
        spent: Counter[str] = Counter()
        clocks: dict[int, int] = {}
        while go.exists():
            _take_sample(spent, clocks)
            time.sleep(INTERVAL_SECONDS)
        unfinished = folder / f"{os.getpid()}.new"
        unfinished.write_text(json.dumps(spent))
        unfinished.rename(folder / f"{os.getpid()}.json")


if "BENCH_PROFILE_FOLDER" in os.environ:
    sys.setswitchinterval(0.0005)  # otherwise a busy thread is seen only where it releases the GIL by itself
    threading.Thread(target=_sample, args=(Path(os.environ["BENCH_PROFILE_FOLDER"]),), daemon=True).start()
