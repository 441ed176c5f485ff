"""Build the metric families for Prometheus: gauges of the current state, counters and histograms.

Every series that can exist shows zero rather than vanishing, so that alerts resolve: all combinations of entity, status,
provider of the registry and currency of a store. Any other series stays once this process has shown it. No family has a
tenant's id as a label.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from workflows.database.metrics_buffer import METRICS, NO_FAILURE, OTHER_FAILURE, CountDelta
from workflows.ops.count_open_rows import OpenRows, OpenSettlements, Overview, WaitingDays
from workflows.ops.liveness import Heartbeat, since_start
from workflows.processing.call_metrics import OPERATIONS, OUTCOMES, RETRIES, SENDS
from workflows.providers.registry import PROVIDERS, remote_names

NOT_FINAL = ("pending", "processing")
EVERY_STATUS = {"payment": (*NOT_FINAL, "completed", "refunded"), "refund": NOT_FINAL}
"""Entity → statuses in which a row may need review. All other gauges count rows of ``NOT_FINAL`` only."""

OPEN_ROWS = {
    "open": "Payments and refunds that are not final.",
    "overdue": "Payments and refunds that are not final and have been due for over a minute.",
    "needs_review": "Payments and refunds that wait for a person.",
    "in_doubt": "Payments and refunds whose outcome is unknown.",
    "needs_action": "Refunds that a person has to return at the till and report.",
}
"""Group of rows in ``OpenRows`` → the help text of its gauge. Most groups have two more gauges: a sum and an age."""

WITHOUT_SUM = frozenset({"overdue"})

SHOWN: set[tuple[str, str, str, str]] = set()
"""Entity, status, provider and currency of every row that this process has ever shown."""

REMOTE_METHODS, LOCAL_METHODS = ("card", "qr"), {"cash": ("cash",), "external": ("card", "emoney")}
"""Methods of payments at remote providers, and at each local provider."""

SHOWN_FAILURES = ("declined", "refused_by_provider", "provider_unavailable", OTHER_FAILURE)
"""Failure codes that are shown with zero before the first failure."""


class InstallationState(NamedTuple):
    """The current state of the installation, from which the gauges are built."""

    overview: Overview
    waiting: Iterable[WaitingDays]
    settlements: Iterable[OpenSettlements]
    workers: Iterable[Heartbeat]
    queues: Mapping[str, int | None]
    broker_silent_seconds: float
    invariants: list[dict[str, Any]]
    months_ahead: int


def gauges(now: InstallationState) -> Iterator[Metric]:
    """Yield the families of gauges."""
    yield from _open_rows(now.overview)
    yield from _silence(now)
    yield _gauge("dead_letters", "Dead letters that are neither requeued nor closed.", now.overview.dead_letters)
    oldest = now.overview.dead_letters_oldest_seconds
    yield _gauge("dead_letters_oldest_seconds", "Seconds since the oldest of these was given up.", oldest)
    days = {(group.reason,): group for group in now.waiting}
    meaning = "Closed days that wait for a person."
    yield _labelled("days_waiting", meaning, ["reason"], {key: group.count for key, group in days.items()})
    meaning = "Seconds since the oldest of these days ended."
    ages = {key: group.oldest_seconds for key, group in days.items()}
    yield _labelled("days_waiting_oldest_seconds", meaning, ["reason"], ages)
    meaning = "Months that have their tables already and have not begun."
    yield _gauge("months_ahead", meaning, now.months_ahead)
    yield from _settlements(now)
    yield from _invariants(now.invariants)


def _open_rows(overview: Overview) -> Iterator[Metric]:
    found = {(row.entity, row.status, row.provider, row.currency): row for row in overview.open}
    SHOWN.update(found)
    for entity, statuses in EVERY_STATUS.items():
        SHOWN.update(product((entity,), statuses, PROVIDERS, overview.currencies))
    for group, meaning in OPEN_ROWS.items():
        yield _group(group, meaning, group, found)
        if group not in WITHOUT_SUM:
            field = f"{group}_amount"
            yield _group(f"{field}_minor_units", "Their sum, in minor units of the currency.", field, found)
            field = f"{group}_oldest_seconds"
            yield _group(field, "Seconds for which the oldest of these has lasted.", field, found)


def _group(name: str, meaning: str, field: str, found: Mapping[tuple[str, str, str, str], OpenRows]) -> Metric:
    is_of_review = field.startswith("needs_review")
    values = {
        key: getattr(found[key], field) if key in found else 0
        for key in sorted(SHOWN)
        if key in found or is_of_review or key[1] in NOT_FINAL
    }
    return _labelled(name, meaning, ["entity", "status", "provider", "currency"], values)


def _silence(now: InstallationState) -> Iterator[Metric]:
    never = since_start(math.inf)
    silent = {(queue,): now.overview.silent_seconds.get(queue, never) for queue in now.queues}
    yield _labelled("queue_silent_seconds", "Seconds since a queue was last consumed.", ["queue"], silent)
    waiting = {(queue,): math.nan if number is None else number for queue, number in now.queues.items()}
    meaning = "Messages that wait in a queue, NaN if the broker does not answer this process."
    yield _labelled("queue_messages", meaning, ["queue"], waiting)
    ages = {(one.worker,): max(one.seen, never if one.heard is None else one.heard) for one in now.workers}
    yield _labelled("worker_silent_seconds", "Seconds since a worker last consumed a message.", ["worker"], ages)
    meaning = "Seconds since a worker last received a sweep from beat."
    yield _gauge("beat_silent_seconds", meaning, now.overview.beat_silent_seconds)
    meaning = "Seconds since the broker last took a message from this process."
    yield _gauge("broker_silent_seconds", meaning, now.broker_silent_seconds)


def _settlements(now: InstallationState) -> Iterator[Metric]:
    currencies = now.overview.currencies
    counts = dict.fromkeys(product(("open", "closed"), currencies), 0)
    breaks = dict.fromkeys(((currency,) for currency in currencies), 0)
    for group in now.settlements:
        counts[group.status, group.currency] = group.number
        breaks[group.currency,] = breaks.get((group.currency,), 0) + group.open_breaks
    meaning = "Settlements that are not reconciled; of closed ones at most the 10,000 oldest."
    yield _labelled("settlements", meaning, ["status", "currency"], counts)
    yield _labelled("breaks_open", "Unresolved breaks of closed settlements.", ["currency"], breaks)


def _invariants(rules: list[dict[str, Any]]) -> Iterator[Metric]:
    """Yield the families of the invariants.

    A rule whose check never finished has no sample, because zero would claim that the rule holds.
    """
    found = {(rule["invariant"], rule["rule"]): rule["violations"] for rule in rules if rule["finished_at"]}
    meaning = "Violations of a rule when it was last checked."
    yield _labelled("invariant_violations", meaning, ["invariant", "rule"], found)
    broken = sum(1 for violations in found.values() if violations)
    yield _gauge("invariant_rules_broken", "Rules with a violation when they were last checked.", broken)
    unfinished = sum(1 for rule in rules if not rule["is_finished"])
    meaning = "Rules whose last scheduled check was not finished within its time."
    yield _gauge("invariant_rules_unfinished", meaning, unfinished)
    oldest = min((rule["finished_at"].timestamp() for rule in rules if rule["finished_at"]), default=0.0)
    meaning = "Unix time of the oldest result of a rule; 0 until a rule was checked."
    yield _gauge("invariant_check_timestamp_seconds", meaning, oldest)


def totals(deltas: Iterable[CountDelta]) -> Iterator[Metric]:
    """Yield the families of counters and histograms."""
    found: dict[str, dict[tuple[str, ...], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for name, zeros in INITIAL_COUNTERS.items():
        for labels in zeros:
            found[name][labels][""] = 0
    for delta in deltas:
        found[delta.name][delta.labels][delta.part] = delta.value
    for name, metric in METRICS.items():
        # Skip counts of another release, whose metric has different labels.
        series = sorted((labels, parts) for labels, parts in found[name].items() if len(labels) == len(metric.labels))
        if metric.buckets:
            histogram = HistogramMetricFamily(f"mpac_{name}", metric.meaning, labels=metric.labels)
            for labels, parts in series:
                histogram.add_metric(
                    labels, _cumulative_buckets(metric.buckets, parts), sum_value=parts.get("sum", 0.0)
                )
            yield histogram
        else:
            counter = CounterMetricFamily(f"mpac_{name}", metric.meaning, labels=metric.labels)
            for labels, parts in series:
                counter.add_metric(labels, parts.get("", 0.0))
            yield counter


def _cumulative_buckets(bounds: Iterable[float], values: Mapping[str, float]) -> list[tuple[str, float]]:
    buckets, count = [], 0.0
    for bound in [*map(repr, bounds), "+Inf"]:
        count += values.get(bound, 0.0)
        buckets.append((bound, count))
    return buckets


def _initial_counters() -> dict[str, list[tuple[str, ...]]]:
    pairs = [(method, name) for name in PROVIDERS for method in LOCAL_METHODS.get(name, REMOTE_METHODS)]
    ends = {"payment": ("completed", "cancelled"), "refund": ("completed",)}
    final: dict[str, list[tuple[str, ...]]] = {
        f"{entity}s_final": [
            *((*pair, status, NO_FAILURE) for pair in pairs for status in statuses),
            *((*pair, "failed", code) for pair in pairs for code in SHOWN_FAILURES),
        ]
        for entity, statuses in ends.items()
    }
    operations = [*SENDS.values(), *(word for words in OPERATIONS.values() for word in words.values())]
    return {
        **final,
        "provider_calls": list(product(remote_names(), operations, OUTCOMES)),
        "retries": [(entity, name, str(step)) for entity in SENDS for name in remote_names() for step in RETRIES],
    }


INITIAL_COUNTERS = _initial_counters()
"""Name of a counter → the labels of the series that show zero before anything was counted."""


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"mpac_{name}", meaning, value=value)


def _labelled(name: str, meaning: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(f"mpac_{name}", meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family
