"""Metrics for Prometheus: what this process answered, and what is open, in doubt or given up on in the installation."""

from collections.abc import Iterable

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.responses import PlainTextResponse, Response

from api.counters import OWN
from api.problems import problems
from workflows.payments.overview import Overview, take_overview
from workflows.settlements.waiting_days import WaitingDays, count_waiting_days
from workflows.shared import Shared

router = APIRouter(tags=["health"])


OPEN_ROWS = {
    "open": "Payments and refunds that are not final.",
    "overdue": "Of these, due for over a minute.",
    "needs_review": "Of these, waiting for a person.",
    "in_doubt": "Those whose outcome is unknown.",
    "in_doubt_amount": "Their sum, in minor units of the currency.",
    "in_doubt_oldest_seconds": "How long the oldest doubt has lasted.",
    "needs_action": "Refunds that a person has to give back at the till and report.",
    "needs_action_oldest_seconds": "How long the oldest of these has waited.",
}
"""Field of ``OpenRows`` → what its gauge says."""

UNITS = {"in_doubt_amount": "_minor_units"}
"""Field of ``OpenRows`` → the unit at the end of its gauge's name, if the field does not say it."""


class _Installation(Collector):
    """An overview and the days that wait for a person as gauges."""

    def __init__(self, overview: Overview, waiting: Iterable[WaitingDays]) -> None:
        self._overview, self._waiting = overview, waiting

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One family per question an operator asks."""
        for field, meaning in OPEN_ROWS.items():
            family = GaugeMetricFamily(
                f"mpac_{field}{UNITS.get(field, '')}", meaning, labels=["entity", "status", "provider", "currency"]
            )
            for row in self._overview.open:
                family.add_metric([row.entity, row.status, row.provider, row.currency], getattr(row, field))
            yield family
        letters = GaugeMetricFamily("mpac_dead_letters", "What was given up on and not requeued.")
        letters.add_metric([], self._overview.dead_letters)
        yield letters
        silence = GaugeMetricFamily("mpac_queue_silent_seconds", "Since a queue was last consumed.", labels=["queue"])
        for queue, seconds in self._overview.silent_seconds.items():
            silence.add_metric([queue], seconds)
        yield silence
        beat = GaugeMetricFamily("mpac_beat_silent_seconds", "Since a worker last received a sweep from beat.")
        beat.add_metric([], self._overview.beat_silent_seconds)
        yield beat
        days = GaugeMetricFamily("mpac_days_waiting", "Closed days that wait for a person.", labels=["reason"])
        ages = GaugeMetricFamily(
            "mpac_days_waiting_oldest_seconds", "Since the oldest of these days ended.", labels=["reason"]
        )
        for each in self._waiting:
            days.add_metric([each.reason], each.count)
            ages.add_metric([each.reason], each.oldest_seconds)
        yield days
        yield ages


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
)
async def metrics() -> Response:
    """Everything, in Prometheus' text format."""
    installation = CollectorRegistry()
    installation.register(_Installation(*await _PROBE.result()))
    return Response(generate_latest(OWN) + generate_latest(installation), media_type=CONTENT_TYPE_LATEST)


async def _probe() -> tuple[Overview, Iterable[WaitingDays]]:
    return await take_overview(), await count_waiting_days()


_PROBE = Shared(_probe)
