"""The error table: what each code means, and the HTTP status it comes with."""

from api.errors import STATUS
from mpac.devtools.documentation.tables import table
from workflows.errors import DomainError, every_error


def render_errors() -> str:
    """One row per error, by status. The meaning is the docstring of the error's class."""
    errors = sorted(every_error(), key=lambda error: STATUS[error.kind])
    rows = [(str(STATUS[error.kind]), f"`{error.code}`", _meaning(error)) for error in errors]
    return table(("HTTP", "code", "meaning"), rows)


def _meaning(error: type[DomainError]) -> str:
    return " ".join((error.__doc__ or "").split()).replace("``", "`")
