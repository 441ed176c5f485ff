"""Count events in memory for ``/metrics``, until the counts of this process are added to the totals in the database.

Counting costs a dictionary access, so the hot paths make no extra statement. ``workflows.ops.metrics_store`` adds the
counts of every process to one table every few seconds. Outcomes that a transaction writes are counted once it has
committed.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

REQUEST_BUCKETS = (0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 25.0)
CALL_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
OUTCOME_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 86_400.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter or, if it has ``buckets``, a histogram of seconds.

    Its name in Prometheus is ``mpac_`` followed by its key in ``METRICS``.
    """

    meaning: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()


CALL_LABELS = ("provider", "operation")
OUTCOME_LABELS = ("method", "provider", "status")

METRICS: Mapping[str, Metric] = {
    "http_requests": Metric("Requests answered.", ("method", "status")),
    "http_request_seconds": Metric(
        "Time from a request to the end of its answer; those that wait for a payment to move take as long as they wait.",
        (),
        REQUEST_BUCKETS,
    ),
    "payments_final": Metric("Payments that became completed, failed or cancelled.", (*OUTCOME_LABELS, "failure_code")),
    "refunds_final": Metric("Refunds that became completed or failed.", (*OUTCOME_LABELS, "failure_code")),
    "payment_final_seconds": Metric("Time from a payment's creation to its outcome.", OUTCOME_LABELS, OUTCOME_BUCKETS),
    "refund_final_seconds": Metric("Time from a refund's creation to its outcome.", OUTCOME_LABELS, OUTCOME_BUCKETS),
    "provider_calls": Metric("Calls to providers, by what their answer means.", (*CALL_LABELS, "outcome")),
    "provider_call_seconds": Metric("Time that a call to a provider took.", CALL_LABELS, CALL_BUCKETS),
    "retries": Metric(
        "Requests that were sent to a provider again under the same reference.", ("entity", "provider", "kind")
    ),
    "sweeps_found": Metric("Rows that sweeps found due and nudged, by why.", ("task", "reason")),
}

NO_FAILURE, OTHER_FAILURE = "", "other"
FAILURES = frozenset(
    {
        *("declined", "refused_by_provider", "provider_unavailable", "amount_mismatch", "fee_out_of_range"),
        *("insufficient_funds", "expired_card", "lost_card", "stolen_card", "do_not_honor", "invalid_card"),
        *("limit_exceeded", "suspected_fraud", "try_again_later", "issuer_unavailable", "processor_busy"),
        *("exceeds_captured", "charge_not_found", "charge_not_succeeded", "currency_mismatch", "cancelled"),
    }
)
"""The values of ``failure_code`` that become labels. Any other value becomes ``other``, because providers may add new ones.

These are the values of ``providers.base.FailureCode``, which is in a higher layer and cannot be imported, and common codes of
providers.
"""

FINAL = frozenset({"completed", "failed", "cancelled"})


class CountDelta(NamedTuple):
    """An amount to add to a total. ``part`` is empty for a counter, and a bucket's bound or ``sum`` for a histogram."""

    name: str
    labels: tuple[str, ...]
    part: str
    value: float


@dataclass(slots=True)
class ProcessCounts:
    """The counts of this process since ``pop`` was last called.

    They are used from one event loop only.
    """

    counts: dict[tuple[str, tuple[str, ...], str], float] = field(default_factory=dict)

    def add(self, name: str, labels: tuple[str, ...], value: float = 1, part: str = "") -> None:
        """Add ``value`` to a counter, or to one part of a histogram."""
        key = (name, labels, part)
        counts = self.counts
        counts[key] = counts.get(key, 0) + value

    def observe(self, name: str, labels: tuple[str, ...], seconds: float) -> None:
        """Add a duration to a histogram.

        A negative duration, which a clock set back may cause, counts as zero.
        """
        bounds = METRICS[name].buckets
        index = bisect_left(bounds, seconds)
        self.add(name, labels, 1, repr(bounds[index]) if index < len(bounds) else "+Inf")
        self.add(name, labels, max(0.0, seconds), "sum")

    def pop(self) -> list[CountDelta]:
        """Return and clear the counts since the last call.

        They are sorted, because the rows of the table are locked in this order.
        """
        taken, self.counts = self.counts, {}
        return [CountDelta(*key, value) for key, value in sorted(taken.items())]


PROCESS_COUNTS = ProcessCounts()

FinalRow = tuple[str, str, str, str, str, float]
"""Entity, method, provider, status, failure code, and the seconds from the entity's creation to its final status."""

_uncommitted: dict[int, list[FinalRow]] = {}
"""The ``id()`` of a transaction's connection → the final rows that the transaction has written."""


def note_final(
    transaction: object, entity: str, *, method: str, provider: str, status: str, code: str | None, seconds: float
) -> None:
    """Note that a transaction makes a payment or refund final.

    The payment or refund is counted after the transaction has committed. ``transaction`` is the connection of the
    transaction.
    """
    failure = NO_FAILURE
    if status == "failed":
        failure = code if code is not None and code in FAILURES else OTHER_FAILURE
    _uncommitted.setdefault(id(transaction), []).append((entity, method, provider, status, failure, seconds))


def pop_outcomes(transaction: object) -> list[FinalRow] | None:
    """Return and clear the final rows of a transaction that ends, whose connection is ``transaction``."""
    return _uncommitted.pop(id(transaction), None) if _uncommitted else None


def count_final_rows(outcomes: Iterable[FinalRow]) -> None:
    """Count the final rows of a transaction that has committed."""
    for entity, method, provider, status, failure, seconds in outcomes:
        PROCESS_COUNTS.add(f"{entity}s_final", (method, provider, status, failure))
        PROCESS_COUNTS.observe(f"{entity}_final_seconds", (method, provider, status), seconds)


async def count_swept_rows(task: str, reasons: Mapping[str, int]) -> None:
    """Count the rows that a sweep found, by reason.

    This is a coroutine, so that it runs on the event loop, where all counting happens.
    """
    for reason, number in reasons.items():
        PROCESS_COUNTS.add("sweeps_found", (task, reason), number)
