"""Run a load generator: a separate process that reads a job on stdin and writes its findings on stdout, both as JSON.

It is a process so that its event loop is its own, its CPU time can be read, and its garbage collection can be tuned.
"""

import asyncio
import json
import math
import sys
from typing import Any

from benchmarks.cpu_time import CLIENT, CLIENT_SESSION
from benchmarks.goals import Figures
from mpac.cli.errors import UserError
from mpac.stack.state_folder import ROOT

PERCENTILES = (50, 95, 99)
SANDBOX = "sandbox"
NOT_THE_PRODUCTS = (CLIENT, CLIENT_SESSION, "others")


async def generate(module: str, job: dict[str, Any]) -> dict[str, Any]:
    """Run the generator ``python -m module`` and return its findings. Raises ``UserError`` if it fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        said, _ = await process.communicate(json.dumps(job).encode())
    except BaseException:
        process.kill()
        raise
    if process.returncode:
        raise UserError("The load generator failed; its output is above.")
    found: dict[str, Any] = json.loads(said)
    return found


def cpu_figures(spent: dict[str, float], *, count: int, seconds: float) -> Figures:
    """Return the CPU milliseconds per unit of work, and the CPUs that client and other processes used.

    ``spent``: CPU seconds by process, of the whole measured window. The stand-in provider is one of the processes of the
    system ("all of its own"), and it is also reported separately, because no installation runs it.
    """
    milliseconds = {name: 1_000 * each / max(1, count) for name, each in spent.items()}
    own = sum(each for name, each in milliseconds.items() if name not in NOT_THE_PRODUCTS)
    client = milliseconds.get(CLIENT, 0.0) + milliseconds.get(CLIENT_SESSION, 0.0)
    sandbox = milliseconds.get(SANDBOX, 0.0)
    return {
        "processor_ms": {
            "without the sandbox": own - sandbox,
            "sandbox": sandbox,
            "all of its own": own,
            "with the client": own + client,
            "by process": milliseconds,
        },
        "share of client": spent.get(CLIENT, 0.0) / seconds,  # in CPUs; near 1 the generator would be the bottleneck
        "share of others": spent.get("others", 0.0) / seconds,  # in CPUs
    }


def percentiles(values: list[float]) -> dict[str, float]:
    """Return the percentiles by nearest rank, so that every figure is a time that was really measured."""
    ordered = sorted(values)
    return {f"p{p}": ordered[math.ceil(len(ordered) * p / 100) - 1] for p in PERCENTILES} if ordered else {}
