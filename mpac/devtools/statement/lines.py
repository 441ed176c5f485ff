"""Settlement lines and statement lines, as `mpac statement` reads and writes them."""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

COLUMNS = ("kind", "reference", "provider_reference", "amount", "currency", "fee", "at")
"""The sandbox's own column names, so that its default mapping reads the file."""

STATEMENT_KINDS = {"payment": "charge", "refund": "refund", "reversal": "reversal"}


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A settlement line that a provider reports."""

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
        """The kind and id of the payment or refund that the line is about."""
        return self.kind, self.entity_id


@dataclass(frozen=True, slots=True)
class FileLine:
    """A statement line; ``amount`` is signed."""

    kind: str
    our_reference: str | None
    provider_reference: str | None
    amount: int
    currency: str
    fee: int
    at: datetime

    def cells(self) -> dict[str, Any]:
        """Return the line as written to the file: amounts are positive, the kind gives the direction."""
        return {
            "kind": STATEMENT_KINDS[self.kind],
            "reference": self.our_reference,
            "provider_reference": self.provider_reference,
            "amount": abs(self.amount),
            "currency": self.currency,
            "fee": self.fee,
            "at": self.at.isoformat(),
        }


def mirror(line: SourceLine) -> FileLine:
    """Return the statement line of a provider that agrees with ``line``."""
    names = (line.kind, line.our_reference, line.provider_reference)
    return FileLine(*names, line.amount, line.currency, line.fee, line.occurred_at)


def write_csv(file: IO[str], lines: Iterable[FileLine]) -> int:
    """Write a statement as CSV with a header; return the number of lines."""
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    count = 0
    for line in lines:
        writer.writerow(line.cells())
        count += 1
    return count


def write_json_lines(file: IO[str], lines: Iterable[FileLine]) -> int:
    """Write a statement as one JSON object per line; return the number of lines."""
    count = 0
    for line in lines:
        file.write(json.dumps(line.cells()) + "\n")
        count += 1
    return count
