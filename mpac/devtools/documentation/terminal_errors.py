"""The errors from the point of view of a terminal: each code, its HTTP status, and what the till must do."""

from api.errors import STATUS
from api.openapi.error_section import WHAT_TO_DO
from mpac.devtools.documentation.tables import table
from workflows.errors import every_error


def render_terminal_errors() -> str:
    """Return one row per error, by status."""
    errors = sorted(every_error(), key=lambda error: STATUS[error.kind])
    rows = [(f"`{error.code}`", str(STATUS[error.kind]), WHAT_TO_DO[error]) for error in errors]
    return table(("code", "HTTP", "what the till must do"), rows)
