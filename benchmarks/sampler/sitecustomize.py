"""A sampling profiler that Python itself loads at start-up, in every process whose PYTHONPATH names this folder.

Nothing is installed and no right to look into other processes is needed. A thread looks a few hundred times a second at
the stacks of all others and adds to each the processor time that its thread used since the last look: a thread that waits
weighs nothing, whatever it waits in. What the total of a thread is, is exact; how it is spread over its functions is a
sample, which leans a little towards places where Python gives way to another thread.

Sleeps until the file ``go`` is in ``BENCH_PROFILE_FOLDER``; writes ``<pid>.json`` there when it is gone again.
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
    """The path below site-packages, the standard library or the checkout: its first word says whose code it is."""
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


def _look(spent: Counter[str], clocks: dict[int, int]) -> None:
    own = threading.get_ident()
    for ident, frame in sys._current_frames().items():
        if ident == own:
            continue
        # Its thread lives: it could only end while we do not hold the interpreter, and we do since the line above.
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
            _look(spent, clocks)
            time.sleep(INTERVAL_SECONDS)
        unfinished = folder / f"{os.getpid()}.new"
        unfinished.write_text(json.dumps(spent))
        unfinished.rename(folder / f"{os.getpid()}.json")


if "BENCH_PROFILE_FOLDER" in os.environ:
    sys.setswitchinterval(0.0005)  # else a busy thread is seen only where it gives way by itself
    threading.Thread(target=_sample, args=(Path(os.environ["BENCH_PROFILE_FOLDER"]),), daemon=True).start()
