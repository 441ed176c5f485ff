"""Build Markdown for the description in the OpenAPI document."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. Vertical bars in cells are escaped."""
    lines = [_line(head), "|" + "---|" * len(head), *(_line(row) for row in rows)]
    return "\n".join(lines)


def codes(values: Iterable[object]) -> str:
    """Format each of ``values`` as code, and join them by commas."""
    return ", ".join(f"`{value}`" for value in values)


def one_line(docstring: str | None) -> str:
    """Return a docstring as a single line of Markdown."""
    return " ".join((docstring or "").split()).replace("``", "`")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
