"""What this process counts of its own requests, for ``/metrics``."""

from prometheus_client import CollectorRegistry, Counter, Histogram

OWN = CollectorRegistry()
REQUESTS = Counter("mpac_http_requests", "Requests answered by this process.", ["method", "status"], registry=OWN)
SECONDS = Histogram(
    "mpac_http_request_seconds",
    "Time from a request to the end of its answer; those that wait for a payment to move take as long as they wait.",
    registry=OWN,
    buckets=(0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 25),
)


def count(method: str, status: int, seconds: float) -> None:
    """One request was answered."""
    REQUESTS.labels(method, status).inc()
    SECONDS.observe(seconds)
