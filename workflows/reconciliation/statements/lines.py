"""The lines that a statement's rows are parsed into, and the errors of rows that cannot be parsed."""

from dataclasses import dataclass
from typing import NamedTuple


class ParsedLine(NamedTuple):
    """A parsed line of a statement. ``amount`` is signed minor units, refunds and reversals below zero."""

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

    ``field`` is the name of our field, ``issue`` what is wrong or what the value must be. ``value`` is a value that the
    mapping does not know. Each such value is reported once, however many lines have it.
    """

    def __init__(self, field: str, issue: str, *, value: str | None = None) -> None:
        super().__init__(issue)
        self.field, self.issue, self.value = field, issue, value


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be parsed: its number in the file, the rest as in ``UnreadableStatement``."""

    where: int
    field: str
    issue: str
    value: str | None = None
