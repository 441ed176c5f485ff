"""What a statement's rows become: lines in our words, and why one cannot be read."""

from dataclasses import dataclass
from typing import NamedTuple


class ParsedLine(NamedTuple):
    """A line of a statement in our words: ``amount`` is signed minor units, refunds and reversals below zero."""

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
    """A number of JSON with a fraction or an exponent, as it is written: its point is a decimal mark in every country."""

    __slots__ = ()


class UnreadableStatement(Exception):
    """A row cannot be read: ``field`` is the name of our field, ``issue`` says what is wrong or what the value must be.

    ``value`` is a word that the mapping does not know; each such word is reported once, however many lines have it.
    """

    def __init__(self, field: str, issue: str, *, value: str | None = None) -> None:
        super().__init__(issue)
        self.field, self.issue, self.value = field, issue, value


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be read: ``where`` is its number in the file, the rest as in ``UnreadableStatement``."""

    where: int
    field: str
    issue: str
    value: str | None = None
