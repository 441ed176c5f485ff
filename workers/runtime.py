"""Build the long-lived objects of a worker process when it starts, and run coroutines for its threads."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from workers.event_loop import EventLoopThread
from workflows.database.engines import Role, connect, disconnect
from workflows.errors import ServiceUnavailable
from workflows.ops.liveness import forget_worker
from workflows.ops.metrics_store import TotalsWriter
from workflows.processing.executor import LeaseExecutor
from workflows.providers.base import Charge, ChargeRefund
from workflows.providers.registry import Providers, open_providers
from workflows.refunds.workload import PAYMENTS, REFUNDS
from workflows.settings import Settings


@dataclass(frozen=True)
class Runtime:
    """The long-lived objects of this process: its name, its executors and its connections to providers."""

    worker: str
    settings: Settings
    providers: Providers
    payments: LeaseExecutor[Charge]
    refunds: LeaseExecutor[ChargeRefund]
    totals_writer: TotalsWriter


_bridge = EventLoopThread()
_made: list[Runtime] = []


def run(work: Any) -> Any:
    """Run a coroutine on the event loop and return its result.

    Celery's threads reach the loop only through this function and ``submit``.
    """
    return _bridge.run(work)


def submit(work: Coroutine[Any, Any, Any]) -> Future[Any]:
    """Start a coroutine on the event loop, and return at once."""
    return _bridge.submit(work)


def runtime() -> Runtime:
    """Return the long-lived objects. Raises ``IndexError`` before ``start``, when no task can arrive."""
    return _made[0]


def start(settings: Settings, *, worker: str, prefetched: int) -> None:
    """Connect to the database and build everything. Call once per process.

    ``prefetched`` is the number of messages that the worker receives in advance. A quarter of them may wait for providers in
    each of the two executors, so a provider that hangs leaves half of them to other work.
    """
    connect(settings, roles=(Role.WORKER, Role.SWEEP, Role.OWNER))
    _bridge.start()
    _made.append(run(_build(settings, worker, waiting=prefetched // 4)))


def stop() -> None:
    """Wait for provider calls in flight, at most the time of a soft shutdown, then close everything."""
    run(_shutdown(runtime()))
    _bridge.stop()


async def _build(settings: Settings, worker: str, *, waiting: int) -> Runtime:
    remote = open_providers(settings)
    totals_writer = TotalsWriter(Role.WORKER)
    totals_writer.start()
    return Runtime(
        worker=worker,
        settings=settings,
        providers=remote,
        payments=LeaseExecutor(PAYMENTS, settings=settings, providers=remote, worker=worker, waiting=waiting),
        refunds=LeaseExecutor(REFUNDS, settings=settings, providers=remote, worker=worker, waiting=waiting),
        totals_writer=totals_writer,
    )


async def _shutdown(objects: Runtime) -> None:
    seconds = objects.settings.soft_shutdown_seconds
    await asyncio.gather(*(executor.drain(seconds) for executor in (objects.payments, objects.refunds)))
    await objects.totals_writer.stop()
    with suppress(ServiceUnavailable):  # the worker's row then expires after an hour
        await forget_worker(objects.worker)
    await objects.providers.close()
    await disconnect()
