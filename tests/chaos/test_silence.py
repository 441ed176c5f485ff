"""If a part is silent, the API, its log, `mpac status` and the worker's own check report it, for each kind of fault.

Parts of one stack of real processes are killed, frozen or made deaf. A part counts as silent after six seconds.
"""

import asyncio
import json
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
from celery import Celery

from mpac.cli.commands.worker import consumption_problem
from mpac.stack.health import fetch_health, health_problems
from tests.live_stack import LiveStack
from tests.polling import eventually

UNSUPERVISED = True
SILENCE_SECONDS = 6
VARIABLES = {"MPAC_SILENCE_SECONDS": str(SILENCE_SECONDS)}
REPORTED_WITHIN_SECONDS = SILENCE_SECONDS + 60  # plus the delay of a busy machine
OTHER_QUEUES = {"refunds", "settlements", "webhooks", "sweeps"}


class ReportedPart(NamedTuple):
    """A part that `/health/ready` reports: kind, name (without the machine) and state."""

    kind: str
    name: str
    state: str


OTHER_IS_SILENT = {ReportedPart("queue", queue, "silent") for queue in OTHER_QUEUES} | {
    ReportedPart("beat", "beat", "unknown")
}


def frozen(name: str) -> Callable[[LiveStack], Any]:
    """Return a fault that freezes a process."""

    async def fault(live: LiveStack) -> None:
        live.stack.kill(name, signal.SIGSTOP)

    return fault


def killed(name: str) -> Callable[[LiveStack], Any]:
    """Return a fault that kills a process permanently."""

    async def fault(live: LiveStack) -> None:
        live.stack.kill(name, signal.SIGKILL)

    return fault


def deaf(name: str) -> Callable[[LiveStack], Any]:
    """Return a fault that cancels a worker's consumers: it runs and sends, but consumes no messages."""

    async def fault(live: LiveStack) -> None:
        queues = {"payments"} if "payments" in name else OTHER_QUEUES
        await asyncio.to_thread(_control, live, name, "cancel_consumer", queues)

    return fault


def _control(live: LiveStack, name: str, what: str, queues: set[str]) -> None:
    app = Celery(broker=live.stack.urls.broker, set_as_current=False)
    for queue in queues:
        getattr(app.control, what)(queue, destination=[f"{name}@{socket.gethostname()}"], reply=True, timeout=5)
    app.close()


def both(*faults: Callable[[LiveStack], Any]) -> Callable[[LiveStack], Any]:
    """Return a fault that injects several faults, each of which has to be reported."""

    async def fault(live: LiveStack) -> None:
        for one in faults:
            await one(live)

    return fault


ROWS = {
    "sweeps worker killed and one payments worker deaf": (
        both(killed("worker-other"), deaf("worker-payments-2")),
        OTHER_IS_SILENT
        | {ReportedPart("worker", "worker-other", "silent"), ReportedPart("worker", "worker-payments-2", "deaf")},
    ),
    "sweeps worker deaf": (deaf("worker-other"), OTHER_IS_SILENT | {ReportedPart("worker", "worker-other", "deaf")}),
    "beat and one payments worker frozen": (
        both(frozen("beat"), frozen("worker-payments-1")),
        {ReportedPart("beat", "beat", "silent"), ReportedPart("worker", "worker-payments-1", "silent")},
    ),
    "broker frozen": (
        frozen("valkey"),
        {ReportedPart("broker", "broker", "silent")}
        | {ReportedPart("queue", queue, "unknown") for queue in {"payments", *OTHER_QUEUES}}
        | {
            ReportedPart("worker", name, "unknown")
            for name in ("worker-payments-1", "worker-payments-2", "worker-other")
        }
        | {ReportedPart("beat", "beat", "unknown")},
    ),
}


async def told(live: LiveStack) -> set[ReportedPart]:
    """Return the parts that `/health/ready` reports. It answers 200, because payments can be stored."""
    answer = await live.api.get("//health/ready")
    assert answer.status == 200
    return {ReportedPart(one["kind"], one["name"].partition("@")[0], one["state"]) for one in answer.body["silent"]}


def logged(live: LiveStack) -> list[tuple[str, str]]:
    """Return the events about silence in the API's log, with their messages."""
    lines = [json.loads(line) for line in (live.stack.home.logs / "api.log").read_text().splitlines()]
    return [(line["event"], line["message"]) for line in lines if line["logger"] == "workflows.ops.silence_rules"]


async def restore(live: LiveStack) -> None:
    """Let every process run and consume again, and wait until no part is silent."""
    await live.restore()
    for name, queues in (("worker-payments-2", {"payments"}), ("worker-other", OTHER_QUEUES)):
        await asyncio.to_thread(_control, live, name, "add_consumer", queues)
    await eventually(lambda: told(live), until=lambda parts: not parts, within=REPORTED_WITHIN_SECONDS)


@pytest.fixture
async def healthy(live: LiveStack) -> AsyncIterator[LiveStack]:
    """Yield the stack. No part is silent before and after the test."""
    await eventually(lambda: told(live), until=lambda parts: not parts, within=REPORTED_WITHIN_SECONDS)
    yield live
    await restore(live)


@pytest.mark.parametrize(("fault", "named"), ROWS.values(), ids=ROWS)
async def test_each_silent_part_is_reported_by_the_living_parts_until_it_is_heard_again(
    healthy: LiveStack, fault: Callable[[LiveStack], Any], named: set[ReportedPart]
) -> None:
    before = len(logged(healthy))
    await fault(healthy)
    await eventually(lambda: told(healthy), until=lambda parts: parts == named, within=REPORTED_WITHIN_SECONDS)
    blamed = [part for part in named if part.state != "unknown"]

    async def reported() -> list[tuple[ReportedPart, str]]:
        """Return the parts and events of the lines that the API has logged about silent parts."""
        lines = [(event, message.split("@")[0]) for event, message in logged(healthy)[before:]]
        beginnings = [line for line in lines if line[0].endswith((".silent", ".deaf"))]
        return [(part, event) for part in blamed for event, message in beginnings if part.name in message]

    # `/health/ready` compares at each request; the log is written by a check of its own every few seconds.
    await eventually(
        reported, until=lambda seen: {part for part, _ in seen} == {*blamed}, within=REPORTED_WITHIN_SECONDS
    )
    info = healthy.stack.info()
    said = "\n".join(health_problems(info, await asyncio.to_thread(fetch_health, info)))
    for part in named:
        assert part.state == "unknown" or part.name.capitalize() in said or part.name in said
    for part in named:
        if part.kind == "worker":
            environment = {"MPAC_DATABASE_URL": healthy.stack.urls.database, **VARIABLES}
            whole = f"{part.name}@{socket.gethostname()}"
            assert "consumed no message" in await asyncio.to_thread(consumption_problem, whole, environment)
    await restore(healthy)
    endings = Counter(f"{part.kind}.heard" for part in blamed)

    async def ended() -> Counter[str]:
        return Counter(event for event, _ in logged(healthy)[before:])

    await eventually(ended, until=lambda events: endings <= events, within=REPORTED_WITHIN_SECONDS)
    assert sorted(await reported()) == sorted((part, f"{part.kind}.{part.state}") for part in blamed), "one line each"
    info = healthy.stack.info()
    assert health_problems(info, await asyncio.to_thread(fetch_health, info)) == []


async def test_payments_are_accepted_while_all_workers_are_frozen_and_processed_later(healthy: LiveStack) -> None:
    workers = ("worker-payments-1", "worker-payments-2", "worker-other")
    for name in workers:
        healthy.stack.kill(name, signal.SIGSTOP)
    ids = await healthy.pay_many(5)
    everything = {ReportedPart("queue", queue, "silent") for queue in ("payments", *OTHER_QUEUES)}
    everything |= {ReportedPart("worker", name, "silent") for name in workers} | {
        ReportedPart("beat", "beat", "unknown")
    }
    await eventually(lambda: told(healthy), until=lambda parts: parts == everything, within=REPORTED_WITHIN_SECONDS)
    for name in workers:
        healthy.stack.kill(name, signal.SIGCONT)
    assert await healthy.final_statuses(ids) == {"completed": 5}


async def test_an_unreachable_database_is_logged_and_payments_are_refused(healthy: LiveStack) -> None:
    before = len(logged(healthy))
    await healthy.stack.stop("postgres")

    async def events() -> list[str]:
        return [event for event, _ in logged(healthy)[before:]]

    await eventually(events, until=lambda found: found == ["database.silent"], within=REPORTED_WITHIN_SECONDS)
    assert (await healthy.api.get("//health/ready")).status == 503
    info = healthy.stack.info()
    assert "not ready" in "".join(health_problems(info, await asyncio.to_thread(fetch_health, info)))
    await healthy.stack.start("postgres")
    await eventually(events, until=lambda found: "database.heard" in found, within=REPORTED_WITHIN_SECONDS)


async def test_a_moved_database_clock_raises_no_alarm(healthy: LiveStack) -> None:
    """Age all rows at once, as a clock that is moved forward does."""
    before = len(logged(healthy))
    moved = "now() - interval '1 day'"
    await healthy.sql(f"UPDATE workers SET seen_at = {moved}, heard_at = {moved}")
    await healthy.sql(f"UPDATE canaries SET sent_at = {moved}, consumed_at = {moved}")
    rows = "SELECT 1 FROM workers WHERE heard_at < now() - interval '1 hour'"
    await eventually(lambda: healthy.sql(rows), until=lambda found: not found, within=REPORTED_WITHIN_SECONDS)
    assert await told(healthy) == set()
    assert logged(healthy)[before:] == []


async def final_in(live: LiveStack) -> tuple[float, float]:
    """Return the number of final payments according to `/metrics`, and according to the rows."""
    page = (await live.api.get("//metrics")).raw.decode()
    lines = [line for line in page.splitlines() if line.startswith("mpac_payments_final_total{")]
    rows = await live.sql("SELECT count(*) FROM payments WHERE status IN ('completed', 'failed', 'cancelled')")
    return sum(float(line.rpartition(" ")[2]) for line in lines), rows[0]["count"]


async def restart(live: LiveStack, *names: str) -> None:
    """Kill processes and restart them, all at once."""
    for name in names:
        live.stack.kill(name, signal.SIGKILL)
    await asyncio.gather(*(live.stack.start(name) for name in names))


async def test_counters_survive_restarts_and_never_count_more_than_the_rows(healthy: LiveStack) -> None:
    workers = ("worker-payments-1", "worker-payments-2")
    ids = await healthy.pay_many(20)
    assert await healthy.final_statuses(ids) == {"completed": 20}
    # Earlier tests' payments were counted by workers that were not killed since, or are in the base of the counters.
    counted, _ = await eventually(lambda: final_in(healthy), until=lambda seen: seen[0] == seen[1])
    await restart(healthy, *workers, "api")  # nothing was counted since, so nothing is lost
    assert (await final_in(healthy))[0] == counted
    ids = await healthy.pay_many(40)
    await restart(healthy, *workers)  # killed while they work: what they counted in their last seconds may be lost
    assert await healthy.final_statuses(ids) == {"completed": 40}
    after, rows = await final_in(healthy)
    assert counted <= after <= rows
    missing = rows - after
    ids = await healthy.pay_many(20)
    assert await healthy.final_statuses(ids) == {"completed": 20}
    await eventually(lambda: final_in(healthy), until=lambda seen: seen[1] - seen[0] <= missing)
