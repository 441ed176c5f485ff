"""Read: a provider's file as lines, some thousand at a time, whatever its length.

Reading is processor work, so each batch is read in a thread of its own and the event loop stays free. A row that cannot
be read does not end the reading: up to ``MAX_BAD`` complaints are collected, so that a person can mend the file in one go. A
word that the mapping does not know is one complaint, however many lines have it.
"""

import asyncio
import csv
import io
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any

from pydantic import ValidationError

from workflows.errors import Detail, InvalidRequest
from workflows.providers.registry import mapping_of
from workflows.providers.statement_mapping import FIELDS, StatementMapping
from workflows.reconciliation.statements.json_lines import cell_of, read_json_line
from workflows.reconciliation.statements.lines import BadLine, ParsedLine, UnreadableStatement
from workflows.reconciliation.statements.masking import CardDataScan, write_masked_csv, write_masked_json_lines
from workflows.reconciliation.statements.rows import row_reader, try_row

BATCH_LINES = 5_000  # a tenth of a second of reading, a megabyte of memory
MAX_BAD = 20
MAX_LINE_CHARACTERS = 20_000  # a line without an end is no line; csv's own limit for one cell is higher

Cells = Generator[tuple[int, list[str]], None, None]


@dataclass
class Opened:
    """A file whose header was read: how its rows are to be read, and the rows themselves."""

    mapping: StatementMapping
    format: str
    header: list[str]
    rows: Cells
    scan: CardDataScan
    bad: list[BadLine] = field(default_factory=list)
    known_complaints: set[tuple[str, str]] = field(default_factory=set)

    def close(self) -> None:
        """Let go of the file."""
        self.rows.close()

    async def batches(self) -> AsyncIterator[list[ParsedLine]]:
        """The lines. Raises ``InvalidRequest`` at the end, or once ``MAX_BAD`` lines were bad, if any was."""
        read = row_reader(self.mapping, self.header, self.scan)
        while len(self.bad) < MAX_BAD:
            batch = await asyncio.to_thread(self._batch, read)
            if not batch and self.bad:
                break
            if not batch:
                return
            if not self.bad:
                yield [line for line in batch if isinstance(line, ParsedLine)]
        raise unreadable(self.bad)

    @asynccontextmanager
    async def copy_to_store(self, file: IO[bytes]) -> AsyncIterator[IO[bytes]]:
        """Yield ``file`` for storing, after it was read: itself, or a copy with its card numbers masked."""
        if not self.scan.has_card_data:
            yield file
            return
        with tempfile.TemporaryFile() as copy:
            write = write_masked_csv if self.format == "csv" else write_masked_json_lines
            await asyncio.to_thread(write, file, copy, self.mapping)
            yield copy

    def _batch(self, read: Any) -> list[ParsedLine | BadLine]:
        lines: list[ParsedLine | BadLine] = []
        try:
            for line_number, cells in islice(self.rows, BATCH_LINES):
                line = try_row(read, line_number, cells)
                lines.append(line)
                if isinstance(line, BadLine) and self._is_new(line):
                    self.bad.append(line)
                    if len(self.bad) >= MAX_BAD:
                        break
        except UnreadableStatement as why:  # the file itself goes wrong here: nothing after it can be read
            self.bad.append(BadLine(-1, why.field, why.issue))
            return []
        return lines

    def _is_new(self, line: BadLine) -> bool:
        if line.value is None:
            return True
        said = (line.field, line.value)
        is_new = said not in self.known_complaints
        self.known_complaints.add(said)
        return is_new


def unreadable(bad: list[BadLine]) -> InvalidRequest:
    """The refusal of a file, line by line."""
    details = [Detail(f"lines.{one.where}.{one.field}" if one.where >= 0 else one.field, one.issue) for one in bad]
    return InvalidRequest(*details[:MAX_BAD], message="The statement cannot be read; nothing of it was stored")


def open_statement(file: IO[bytes], *, provider: str, format_: str, mapping: StatementMapping | None) -> Opened:
    """Read the header of ``file`` (``csv`` or ``json_lines``). Raises ``InvalidRequest`` where it does not fit."""
    encoding, delimiter = (mapping.encoding, mapping.delimiter) if mapping else ("utf-8", ",")
    scan = CardDataScan()
    rows = _csv(file, encoding, delimiter) if format_ == "csv" else _json_lines(file, scan)
    try:
        header = next(rows, (0, []))[1]
        if not header:
            raise UnreadableStatement("file", "Must have a line of column names")
        found = mapping or default_mapping(provider, header)
        row_reader(found, header, scan)  # for its errors, before anything else is done
    except (UnreadableStatement, ValidationError) as error:
        rows.close()
        raise unreadable([_complaint(error)]) from error
    scan.scan_names(header)
    return Opened(found, format_, header, rows, scan)


def default_mapping(provider: str, header: Sequence[str]) -> StatementMapping:
    """The mapping for a file that nobody declared one for: the provider's, or columns that are called as our fields are.

    Raises ``pydantic.ValidationError`` where ``header`` has too few of those.
    """
    return mapping_of(provider) or StatementMapping(columns={name: name for name in header if name in FIELDS})


def _complaint(error: UnreadableStatement | ValidationError) -> BadLine:
    if isinstance(error, UnreadableStatement):
        return BadLine(-1, error.field, error.issue)
    issues = (str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
    return BadLine(-1, "mapping", "; ".join(issues))


def _csv(file: IO[bytes], encoding: str, delimiter: str) -> Cells:
    # A byte order mark at the beginning is Excel's way of saying UTF-8.
    text = io.TextIOWrapper(file, encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="")
    reader = csv.reader(_bounded(text), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except (csv.Error, UnicodeError) as error:
        raise UnreadableStatement(f"lines.{reader.line_num}", f"Must be {encoding} text in CSV: {error}") from error
    finally:
        text.detach()


def _bounded(text: IO[str]) -> Iterator[str]:
    while line := text.readline(MAX_LINE_CHARACTERS):
        if len(line) == MAX_LINE_CHARACTERS and not line.endswith("\n"):
            raise csv.Error(f"a line is longer than {MAX_LINE_CHARACTERS} characters")
        yield line


def _json_lines(file: IO[bytes], scan: CardDataScan) -> Cells:
    header: list[str] = []
    line_number = 0
    while raw := file.readline(MAX_LINE_CHARACTERS):
        line_number += 1
        if not raw.strip():
            continue
        row = read_json_line(raw, line_number)
        scan.scan_object(row)
        if not header:
            header = list(row)
            yield 0, header
        yield line_number, [cell_of(row.get(name)) for name in header]
