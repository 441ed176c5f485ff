"""Count the requests that this process answers, for ``/metrics``."""

from workflows.database.metrics_buffer import PROCESS_COUNTS

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
OTHER = "OTHER"
"""The label of any other method: a client may send any, and labels must be bounded."""


def count(method: str, status: int, seconds: float) -> None:
    """Count one answered request."""
    PROCESS_COUNTS.add("http_requests", (method if method in METHODS else OTHER, str(status)))
    PROCESS_COUNTS.observe("http_request_seconds", (), seconds)
