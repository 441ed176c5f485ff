"""Measure one target: start it, load it, check what it did, stop it."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import psycopg

from benchmarks.audit import audit
from benchmarks.generator import cpu_figures, generate, percentiles
from benchmarks.goals import Figures
from benchmarks.ledgers import Ledgers
from benchmarks.load import Job
from benchmarks.plan import Plan
from benchmarks.proof import Sandbox, verify
from benchmarks.targets import Target
from mpac.stack.local_stack import LocalStack

BUSY_PAUSE_SECONDS, REST_PAUSE_SECONDS = 0.02, 0.002
"""The pause between two polls under full load and at rest. A shorter one costs more CPU time and measures more exactly."""

LOADS = ("closed", "steady", "rest")
GENERATOR = "benchmarks.load"


async def measure_target(
    target: Target,
    loads: Callable[[], Awaitable[Figures]],
    *,
    stack: LocalStack,
    ledgers: Ledgers,
    latency_ms: int,
    run: str,
) -> Figures:
    """Start a target, let ``loads`` measure it, check its payments, stop it, and return the figures.

    Raises ``UserError`` if the target lost or doubled a payment, or if the product's auditors find something.
    """
    await ledgers.switch_to(target.name)
    await target.start()
    try:
        await prepare(target, sandbox=ledgers.sandbox, latency_ms=latency_ms)
        found = await loads()
        found["proof"] = await verify(target.name, database_url=target.database_url, sandbox=ledgers.sandbox, run=run)
        if target.name == "product":
            found["audit"] = await audit(stack)
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
    return await job_of(
        target,
        kind=kind,
        run=f"{run}-{name}",
        warm_up=warm_up,
        seconds=seconds,
        in_flight=plan.in_flight,
        rate=rate,
        pause_seconds=pause,
    )


async def job_of(target: Target, **what: Any) -> Job:
    """Return a job for ``target`` with fresh tokens; ``what`` are the other fields of the job."""
    address = urlsplit(target.address)
    return Job(
        host=str(address.hostname),
        port=address.port or 80,
        tokens=await target.tokens(),
        database_url=target.database_url,
        pids=dict(target.pids),
        **what,
    )


async def prepare(target: Target, *, sandbox: Sandbox, latency_ms: int, webhooks: bool = False) -> None:
    """Remove what the previous load left behind (rows to vacuum, dirty pages), and set up the provider.

    Webhooks are off by default, because the rivals do not receive them.
    """
    async with await psycopg.AsyncConnection.connect(target.database_url, autocommit=True) as connection:
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    async with sandbox.session() as session:
        await session.put("/control/webhooks", json={"enabled": webhooks})
        await session.put("/control/latency", json={"min_ms": latency_ms, "max_ms": latency_ms})


async def load(job: Job) -> dict[str, Any]:
    """Run the load generator for payments and return its findings. Raises ``UserError`` if it fails."""
    return await generate(GENERATOR, asdict(job))


def figures_of(found: dict[str, Any]) -> Figures:
    """Return rates, latencies and CPU time per payment from the findings of one load."""
    completed, seconds = found["completed"], found["seconds"]
    return {
        "seconds": seconds,
        "completed": completed,
        "per_second": completed / seconds,
        "statuses": found["statuses"],
        "answers": found["answers"],
        "errors": found["errors"],
        "unfinished": found["unfinished"],
        "post_ms": percentiles(found["post_ms"]),
        "final_ms": percentiles(found["final_ms"]),
        **cpu_figures(found["processor"], count=completed, seconds=seconds),
    }


def stamp() -> str:
    """Return a prefix that no earlier run has used in its references."""
    return f"b{int(time.time() * 1000):x}"
