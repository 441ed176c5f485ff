"""Count the answered requests of this process and measure their duration, for ``/metrics``."""

from workflows.database.metrics_buffer import PROCESS_COUNTS

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
OTHER = "OTHER"
"""The label of all other methods. A client may send any text as a method, and the number of labels must be bounded."""


def count(method: str, status: int, seconds: float) -> None:
    """Count an answered request and its duration."""
    PROCESS_COUNTS.add("http_requests", (method if method in METHODS else OTHER, str(status)))
    PROCESS_COUNTS.observe("http_request_seconds", (), seconds)
