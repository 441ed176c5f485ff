"""Count the answered requests of this process and measure their duration, for ``/metrics``."""

from workflows.database.metrics_buffer import PROCESS_COUNTS

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
OTHER = "OTHER"
"""The label of methods that are not in ``METHODS``, because a client may send any text as a method."""


def count(method: str, status: int, seconds: float) -> None:
    """Count an answered request and its duration."""
    PROCESS_COUNTS.add("http_requests", (method if method in METHODS else OTHER, str(status)))
    PROCESS_COUNTS.observe("http_request_seconds", (), seconds)
