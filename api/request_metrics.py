"""Count what this process answers, for ``/metrics``."""

from workflows.database.metric_counts import PROCESS_COUNTS

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
OTHER = "OTHER"
"""A client may send any method; as labels, these would have no bound."""


def count(method: str, status: int, seconds: float) -> None:
    """One request was answered."""
    PROCESS_COUNTS.add("http_requests", (method if method in METHODS else OTHER, str(status)))
    PROCESS_COUNTS.observe("http_request_seconds", (), seconds)
