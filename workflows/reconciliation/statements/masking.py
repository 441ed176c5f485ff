"""Find card data in a provider's file while it is read, and mask it in the stored copy.

Columns that are not mapped are stored in the raw file only. A card number there does not refuse the file: its digits are
replaced by asterisks, in names and cells. The stored hash is that of the original file, so the same file is still recognised.
Lines without a card number are copied unchanged.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from workflows.card_data import contains_card_data, is_secret_name, looks_like_card_data, mask_digits
from workflows.providers.statement_mapping import StatementMapping
from workflows.reconciliation.statements.lines import read_json_line

_MASKED_DIGIT = "*"


@dataclass
class CardDataScan:
    """A scan of one file for card data. A name or value that looks like card data sets ``has_card_data``."""

    has_card_data: bool = False
    _is_clean: bool = False
    """Whether ``scan_object`` has scanned the next row already and found it clean."""

    def scan_names(self, header: Sequence[str]) -> None:
        """Scan the names of the columns."""
        if any(is_secret_name(name) or looks_like_card_data(name) for name in header):
            self.has_card_data = True

    def scan_row(self, cells: Sequence[str]) -> bool:
        """Scan the cells of a row, and return whether one of them looks like card data."""
        if self._is_clean:
            self._is_clean = False
            return False
        if not looks_like_card_data(
            '"'.join(cells)
        ):  # the quotation mark separates the digits of two cells; most rows end here
            return False
        self.has_card_data = True
        return True

    def scan_object(self, row: dict[str, Any]) -> None:
        """Scan all names and values of a JSON line at any depth, before its row is scanned."""
        self._is_clean = not contains_card_data(row)
        self.has_card_data |= not self._is_clean


def write_masked_csv(file: IO[bytes], copy: IO[bytes], mapping: StatementMapping) -> None:
    """Copy ``file`` to ``copy`` with its card numbers masked.

    The file must already have been parsed without errors.
    """
    file.seek(0)
    encoding, delimiter = mapping.encoding, mapping.delimiter
    source = io.TextIOWrapper(file, encoding=encoding, newline="")
    target = io.TextIOWrapper(copy, encoding=encoding, newline="", write_through=True)
    secret: set[int] | None = None  # indexes of columns that are named like a secret, known after the header
    lines: list[str] = []  # the lines of the current row, because a quoted cell may span several lines
    for cells in csv.reader(_record_lines(source, lines), delimiter=delimiter, strict=True):
        masked = [_masked(cell, is_secret=index in (secret or ())) for index, cell in enumerate(cells)]
        if cells and secret is None:
            secret = {index for index, name in enumerate(cells) if is_secret_name(name)}
        if masked != cells:
            end = lines[-1][len(lines[-1].rstrip("\r\n")) :]
            csv.writer(target, delimiter=delimiter, lineterminator=end).writerow(masked)
        else:
            target.writelines(lines)
        lines.clear()
    target.writelines(lines)
    source.detach()
    target.detach()


def _record_lines(source: IO[str], lines: list[str]) -> Iterator[str]:
    for line in source:
        lines.append(line)
        yield line


def _masked(cell: str, *, is_secret: bool) -> str:
    return (
        "".join(_MASKED_DIGIT if character.isdigit() else character for character in cell)
        if is_secret
        else mask_digits(cell)
    )


def write_masked_json_lines(file: IO[bytes], copy: IO[bytes], _mapping: StatementMapping) -> None:
    """Copy ``file`` to ``copy`` with its card numbers masked.

    The file must already have been parsed without errors.
    """
    file.seek(0)
    for number, raw in enumerate(file, start=1):
        row = read_json_line(raw, number) if raw.strip() else None
        masked = _masked_value(row, is_secret=False)
        if masked != row:
            copy.write(json.dumps(masked).encode() + b"\n")
        else:
            copy.write(raw)


def _masked_value(value: Any, *, is_secret: bool) -> Any:
    if isinstance(value, dict):
        return {
            mask_digits(name): _masked_value(inner, is_secret=is_secret or is_secret_name(name))
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_masked_value(inner, is_secret=is_secret) for inner in value]
    return _masked(value, is_secret=is_secret) if isinstance(value, str) else value
