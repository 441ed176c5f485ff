"""Measure one target: start it, load it three times, check it, stop it."""

import asyncio
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psycopg

from benchmarks.cpu_time import CLIENT, CLIENT_SESSION
from benchmarks.load import Job
from benchmarks.plan import Plan
from benchmarks.targets import Target
from mpac.cli.errors import UserError
from mpac.stack.state_folder import ROOT

BUSY_PAUSE_SECONDS, REST_PAUSE_SECONDS = 0.02, 0.002
"""The pause between two polls under full load and at rest. A shorter one costs more CPU time and measures more exactly."""

LOADS = ("closed", "steady", "rest")
PERCENTILES = (50, 95, 99)
NOT_THE_PRODUCTS = (CLIENT, CLIENT_SESSION, "others")

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The sandbox provider of a benchmark, and the key of its control routes."""

    url: str
    control_key: str = field(repr=False)

    def session(self) -> aiohttp.ClientSession:
        """Return an HTTP client for the control routes."""
        headers = {"Authorization": f"Bearer {self.control_key}"}
        return aiohttp.ClientSession(self.url, headers=headers, raise_for_status=True)


async def measure_target(target: Target, *, plan: Plan, sandbox: Sandbox, run: str) -> Figures:
    """Measure one target with every load of the plan.

    Raises ``UserError`` if the target lost or doubled a payment.
    """
    await target.start()
    try:
        await prepare(target, sandbox=sandbox, latency_ms=plan.latency_ms)
        found: Figures = {}
        for name in LOADS:
            found[name] = figures_of(await load(await job_for(target, name, plan=plan, run=run)))
        found["proof"] = await _verify(target, sandbox=sandbox, run=run)
        return found
    finally:
        await target.stop()


async def job_for(target: Target, name: str, *, plan: Plan, run: str) -> Job:
    """Return the job called ``name`` for ``target``, with fresh tokens."""
    kind, warm_up, seconds, rate, pause = {
        "closed": ("closed", plan.warm_up, plan.closed, 0.0, BUSY_PAUSE_SECONDS),
        "steady": ("open", plan.warm_up / 2, plan.steady, plan.steady_rate, BUSY_PAUSE_SECONDS / 2),
        "rest": ("open", plan.warm_up / 2, plan.rest, plan.rest_rate, REST_PAUSE_SECONDS),
    }[name]
    address = urlsplit(target.address)
    return Job(
        kind=kind,
        host=str(address.hostname),
        port=address.port or 80,
        tokens=await target.tokens(),
        database_url=target.database_url,
        pids=dict(target.pids),
        run=f"{run}-{name}",
        warm_up=warm_up,
        seconds=seconds,
        in_flight=plan.in_flight,
        rate=rate,
        pause_seconds=pause,
    )


async def prepare(target: Target, *, sandbox: Sandbox, latency_ms: int) -> None:
    """Remove what the previous target left behind: rows to vacuum, dirty pages, a long ledger."""
    async with await psycopg.AsyncConnection.connect(target.database_url, autocommit=True) as connection:
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    async with sandbox.session() as session:
        await session.delete("/control/ledger")
        # The rival does not receive the provider's webhooks.
        await session.put("/control/webhooks", json={"enabled": False})
        await session.put("/control/latency", json={"min_ms": latency_ms, "max_ms": latency_ms})


async def load(job: Job) -> dict[str, Any]:
    """Run the load generator and return its findings. Raises ``UserError`` if it fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        said, _ = await process.communicate(json.dumps(asdict(job)).encode())
    except BaseException:
        process.kill()
        raise
    if process.returncode:
        raise UserError("The load generator failed; its output is above.")
    found: dict[str, Any] = json.loads(said)
    return found


def figures_of(found: dict[str, Any]) -> Figures:
    """Return rates, latencies and CPU time per payment from the findings of one load."""
    completed, seconds = found["completed"], found["seconds"]
    milliseconds = {name: spent * 1000 / max(1, completed) for name, spent in found["processor"].items()}
    own = sum(spent for name, spent in milliseconds.items() if name not in NOT_THE_PRODUCTS)
    return {
        "seconds": seconds,
        "completed": completed,
        "per_second": completed / seconds,
        "statuses": found["statuses"],
        "errors": found["errors"],
        "unfinished": found["unfinished"],
        "post_ms": percentiles(found["post_ms"]),
        "final_ms": percentiles(found["final_ms"]),
        "processor_ms": {
            "all of its own": own,
            "with the client": own + milliseconds[CLIENT] + milliseconds[CLIENT_SESSION],
            "by process": milliseconds,
        },
        "share of others": found["processor"]["others"] / seconds,  # in CPUs
    }


def percentiles(values: list[float]) -> dict[str, float]:
    """Return the percentiles by nearest rank, so that every figure is a time that was really measured."""
    ordered = sorted(values)
    return {f"p{p}": ordered[math.ceil(len(ordered) * p / 100) - 1] for p in PERCENTILES} if ordered else {}


async def _verify(target: Target, *, sandbox: Sandbox, run: str) -> dict[str, int]:
    """Check that every accepted payment is final and the provider charged each completed one exactly once."""
    charged = await _charged_payment_ids(sandbox)
    async with await psycopg.AsyncConnection.connect(target.database_url) as connection:
        cursor = await connection.execute(
            "SELECT status, array_agg(id) FROM payments WHERE client_reference LIKE %s GROUP BY status", (f"{run}-%",)
        )
        by_status: dict[str, list[str]] = dict(await cursor.fetchall())
    completed = set(by_status.get("completed", ()))
    proof = {
        "completed": len(completed),
        "charges": len(charged),
        "charged twice": len(charged) - len(set(charged)),
        "completed without a charge": len(completed - set(charged)),
        "charged and not completed": len(set(charged) - completed),
    }
    if proof["charged twice"] or proof["completed without a charge"]:
        raise UserError(f"{target.name} is wrong, so its figures mean nothing: {proof}")
    return proof


async def _charged_payment_ids(sandbox: Sandbox) -> list[str]:
    charged: list[str] = []
    async with sandbox.session() as session:
        after: int | None = 0
        while after is not None:
            async with session.get("/control/ledger", params={"after": after, "limit": 5_000}) as answer:
                page = await answer.json()
            charged += [row["payment_id"] for row in page["data"] if row["kind"] == "charge"]
            after = page["next"]
    return charged


def stamp() -> str:
    """Return a prefix that no earlier run has used in its references."""
    return f"b{int(time.time() * 1000):x}"
