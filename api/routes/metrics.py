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

router = APIRouter(tags=["health"])


class _Installation(Collector):
    """An overview as gauges."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One family per question an operator asks."""
        labels = ["status", "provider"]
        open_ = GaugeMetricFamily("mpac_payments_open", "Payments that are not final.", labels=labels)
        overdue = GaugeMetricFamily("mpac_payments_overdue", "Of these, due for over a minute.", labels=labels)
        doubt = GaugeMetricFamily("mpac_payments_in_doubt", "Payments whose outcome is unknown.", labels=["provider"])
        money = GaugeMetricFamily("mpac_payments_in_doubt_amount", "Their sum, minor units.", labels=["provider"])
        age = GaugeMetricFamily("mpac_payments_in_doubt_oldest_seconds", "The oldest doubt.", labels=["provider"])
        for row in self._overview.payments:
            open_.add_metric([row.status, row.provider], row.count)
            overdue.add_metric([row.status, row.provider], row.overdue)
            if not row.outcome_known:
                doubt.add_metric([row.provider], row.count)
                money.add_metric([row.provider], row.amount)
                age.add_metric([row.provider], row.oldest_seconds)
        letters = GaugeMetricFamily("mpac_dead_letters", "What was given up on and not requeued.")
        letters.add_metric([], self._overview.dead_letters)
        silence = GaugeMetricFamily("mpac_queue_silent_seconds", "Since a queue was last consumed.", labels=["queue"])
        for queue, seconds in self._overview.silent_seconds.items():
            silence.add_metric([queue], seconds)
        return open_, overdue, doubt, money, age, letters, silence


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
)
async def metrics() -> Response:
    """Everything, in Prometheus' text format."""
    installation = CollectorRegistry()
    installation.register(_Installation(await take_overview()))
    return Response(generate_latest(OWN) + generate_latest(installation), media_type=CONTENT_TYPE_LATEST)
