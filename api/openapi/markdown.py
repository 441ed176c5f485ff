"""Markdown for the description of the OpenAPI document."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar inside a cell is escaped."""
    lines = [_line(head), "|" + "---|" * len(head), *(_line(row) for row in rows)]
    return "\n".join(lines)


def codes(values: Iterable[object]) -> str:
    """Return ``values`` as code with commas between them."""
    return ", ".join(f"`{value}`" for value in values)


def one_line(docstring: str | None) -> str:
    """Return a docstring as a single line of Markdown."""
    return " ".join((docstring or "").split()).replace("``", "`")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
