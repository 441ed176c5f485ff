"""What a statement's rows become: lines in our words, and why one cannot be read."""

from dataclasses import dataclass
from typing import NamedTuple


class Line(NamedTuple):
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


COLUMNS = Line._fields


class JsonNumber(str):
    """A number of JSON with a fraction or an exponent, as it is written: its point is a decimal mark in every country."""

    __slots__ = ()


class Unreadable(Exception):
    """A row cannot be read: ``field`` says which of our fields, ``issue`` what is wrong with it or what it must be.

    ``word`` is a word that the mapping does not know; every one of them is reported once, whatever the number of its lines.
    """

    def __init__(self, field: str, issue: str, *, word: str | None = None) -> None:
        super().__init__(issue)
        self.field, self.issue, self.word = field, issue, word


@dataclass(frozen=True, slots=True)
class BadLine:
    """Why a line cannot be read: ``where`` is its number in the file, the rest as in ``Unreadable``."""

    where: int
    field: str
    issue: str
    word: str | None = None
