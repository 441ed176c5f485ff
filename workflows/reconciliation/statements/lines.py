"""The lines that a statement's rows are parsed into, the errors of rows that cannot be parsed, and the parser of JSON lines.

Numbers in JSON stay text: as a float, 74537604221431023456789 would become 7.453760422143102e+22, and 1.10 would lose its
zero.
"""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple


class ParsedLine(NamedTuple):
    """A parsed line of a statement. ``amount`` is signed minor units, below zero for refunds and reversals."""

    line_number: int
    kind: str
    is_settled: bool
    our_reference: str | None
    provider_reference: str | None
    amount: int
    currency: str
    fee: int | None
    occurred_at: str | None
    occurred_on: str | None


COLUMNS = ParsedLine._fields


class JsonNumber(str):
    """The text of a JSON number with a fraction or exponent. Its point is always the decimal mark."""

    __slots__ = ()


class UnreadableStatement(Exception):
    """A row cannot be parsed.

    ``field`` is the name of our field, ``issue`` what is wrong or what the value must be. ``value`` is given if the mapping
    does not know it; each such value is reported once, however many lines have it.
    """

    def __init__(self, field: str, issue: str, *, value: str | None = None) -> None:
        super().__init__(issue)
        self.field, self.issue, self.value = field, issue, value


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be parsed.

    ``where`` is its number in the file, or -1 for an error of the whole file. The rest is as in ``UnreadableStatement``.
    """

    where: int
    field: str
    issue: str
    value: str | None = None


MAX_DEPTH = 20  # for unmapped values too, because the search for card data recurses into them


class _DuplicateName(ValueError):
    """An object repeats a name, so it is unclear which value is meant."""


def read_json_line(raw: bytes, line_number: int) -> dict[str, Any]:
    """Return the object in ``raw``, with its numbers as text.

    Raises ``UnreadableStatement`` if it is not exactly one JSON object.
    """
    try:
        row = _DECODER.decode(raw.decode("utf-8-sig" if line_number == 1 else "utf-8"))
    except _DuplicateName:
        raise UnreadableStatement(f"lines.{line_number}", "Must name each column only once") from None
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise UnreadableStatement(f"lines.{line_number}", "Must be a JSON object on a line of its own, in UTF-8")
    if _is_deeper_than(MAX_DEPTH, row):
        raise UnreadableStatement(f"lines.{line_number}", f"Must not be nested deeper than {MAX_DEPTH} levels")
    return row


def _is_deeper_than(levels: int, value: dict[str, Any] | list[Any]) -> bool:
    nested = [
        inner for inner in (value.values() if isinstance(value, dict) else value) if isinstance(inner, dict | list)
    ]
    return bool(nested) and (levels == 1 or any(_is_deeper_than(levels - 1, inner) for inner in nested))


def cell_of(value: Any) -> str:
    """Return a value as the text of a CSV cell; nested values become JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _DuplicateName
    return value


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    parse_int=str, parse_float=JsonNumber, parse_constant=_reject_constant, object_pairs_hook=_unique_names
)
