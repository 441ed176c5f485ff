"""Lines of both sides, as `mpac statement` reads and writes them."""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

COLUMNS = ("kind", "reference", "provider_reference", "amount", "currency", "fee", "at")
"""The sandbox's own words, so that its default mapping reads the file."""

STATEMENT_KINDS = {"payment": "charge", "refund": "refund", "reversal": "reversal"}


@dataclass(frozen=True, slots=True)
class OurLine:
    """A line of a settlement that a provider reports."""

    kind: str
    entity_id: str
    our_reference: str | None
    provider_reference: str | None
    amount: int
    currency: str
    fee: int
    occurred_at: datetime

    @property
    def key(self) -> tuple[str, str]:
        """What it is about."""
        return self.kind, self.entity_id


@dataclass(frozen=True, slots=True)
class TheirLine:
    """A line of a statement; ``amount`` is signed."""

    kind: str
    our_reference: str | None
    provider_reference: str | None
    amount: int
    currency: str
    fee: int
    at: datetime

    def cells(self) -> dict[str, Any]:
        """The line in the words of the file: amounts above zero, the kind says which way."""
        return {
            "kind": STATEMENT_KINDS[self.kind],
            "reference": self.our_reference,
            "provider_reference": self.provider_reference,
            "amount": abs(self.amount),
            "currency": self.currency,
            "fee": self.fee,
            "at": self.at.isoformat(),
        }


def mirror(line: OurLine) -> TheirLine:
    """What a provider that agrees says of ``line``."""
    names = (line.kind, line.our_reference, line.provider_reference)
    return TheirLine(*names, line.amount, line.currency, line.fee, line.occurred_at)


def write_csv(file: IO[str], lines: Iterable[TheirLine]) -> int:
    """Write a statement as CSV with a header; returns the number of lines."""
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    count = 0
    for line in lines:
        writer.writerow(line.cells())
        count += 1
    return count


def write_json_lines(file: IO[str], lines: Iterable[TheirLine]) -> int:
    """Write a statement as a JSON object per line; returns their number."""
    count = 0
    for line in lines:
        file.write(json.dumps(line.cells()) + "\n")
        count += 1
    return count
