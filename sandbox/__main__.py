"""Run the sandbox: ``python -m sandbox`` serves until it is stopped, and stops with a complete ledger."""

import asyncio
import gc
import logging
import signal
import sqlite3
import sys

import uvloop
from aiohttp import web

from sandbox import operation_lifecycle
from sandbox.app import create_app
from sandbox.clock import Clock
from sandbox.context import Latency, SandboxContext
from sandbox.fault_rates import FaultRates
from sandbox.fault_responses import HangingRequests
from sandbox.settings import Settings, read_settings, with_control_key
from sandbox.sqlite_storage import SqliteStorage
from sandbox.webhooks import Webhooks

log = logging.getLogger("sandbox")

SHUTDOWN_SECONDS = 2.0  # for calls in flight; the product must cope with calls that are cut off anyway
BACKLOG = 4_096  # a load test opens hundreds of connections at once
GC_THRESHOLDS = (50_000, 20, 50)  # few cycles are made, so a collection every 700 allocations (the default) is wasted


def main() -> None:
    """Read the settings and run the sandbox."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    settings = with_control_key(read_settings(sys.argv[1:]))
    try:
        _run(settings)
    except sqlite3.OperationalError as error:
        sys.exit(f"cannot open the ledger in {settings.store}: {error} (is it in use by another process?)")


def _run(settings: Settings) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    context = build_context(settings)
    runner = web.AppRunner(create_app(context), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    site = web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG)
    await site.start()
    operation_lifecycle.resume(context)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    log.info("listening on http://%s:%s", settings.host, runner.addresses[0][1])
    await stop.wait()
    context.hanging_requests.close()
    await runner.cleanup()
    await context.webhooks.close()
    context.storage.close()
    log.info("stopped")


def build_context(settings: Settings) -> SandboxContext:
    """Build the long-lived objects of the sandbox."""
    storage = SqliteStorage(settings.store)
    clock = Clock(storage)
    return SandboxContext(
        settings=settings,
        storage=storage,
        clock=clock,
        fault_rates=FaultRates(),
        latency=Latency(settings.min_latency_ms, settings.max_latency_ms),
        hanging_requests=HangingRequests(),
        webhooks=Webhooks(storage, clock, url=settings.webhook_url, secret=settings.webhook_secret),
    )


if __name__ == "__main__":
    main()
