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


@dataclass(frozen=True, slots=True)
class BadLine:
    """Why a line cannot be read: ``where`` is its number in the file, ``issue`` what it must be."""

    where: int
    field: str
    issue: str
