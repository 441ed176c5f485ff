"""The route of the metrics for Prometheus: the totals of all processes, and the current state of the installation."""

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from starlette.responses import PlainTextResponse, Response

from api.openapi.error_responses import error_responses
from api.prometheus import InstallationState, gauges, totals
from api.runtime import runtime_of
from workers.silence_monitor import QUEUES
from workflows.database.engines import Role
from workflows.database.metrics_buffer import CountDelta
from workflows.invariants.scheduled import read_results
from workflows.ops.count_open_rows import (
    OpenSettlements,
    Overview,
    WaitingDays,
    count_open_settlements,
    count_waiting_days,
    read_overview,
)
from workflows.ops.health import SingleFlight
from workflows.ops.liveness import Heartbeat, read_heartbeats
from workflows.ops.make_months import count_months_ahead
from workflows.ops.metrics_store import read_totals

router = APIRouter(tags=["health"])

Found = tuple[
    Overview,
    Iterable[WaitingDays],
    list[OpenSettlements],
    list[Heartbeat],
    list[CountDelta],
    list[dict[str, Any]],
    int,
]


class _Families(Collector):
    """A collector that returns metric families which were built before."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **error_responses()},
)
async def metrics(request: Request) -> Response:
    """Return the metrics of all processes in Prometheus' text format.

    Any API process can therefore be the scrape target. Counts of the last two seconds before a process was killed may
    be missing.
    """
    runtime = runtime_of(request)
    await runtime.totals_writer.add()
    overview, waiting, settlements, workers, counted, rules, months = await _PROBE.result()
    queues = {queue: runtime.silence_monitor.messages_waiting(queue) for queue in QUEUES}
    broker = runtime.silence_monitor.broker_silent_seconds
    now = InstallationState(overview, waiting, settlements, workers, queues, broker, rules, months)
    registry = CollectorRegistry()
    registry.register(_Families([*gauges(now), *totals(counted)]))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


async def _probe() -> Found:
    return (
        await read_overview(),
        await count_waiting_days(),
        await count_open_settlements(),
        await read_heartbeats(Role.ACCEPT),
        await read_totals(Role.ACCEPT),
        await read_results(Role.ACCEPT),
        await count_months_ahead(Role.ACCEPT),
    )


_PROBE = SingleFlight(_probe)
