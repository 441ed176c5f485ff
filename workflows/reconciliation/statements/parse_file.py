"""Parse a provider's file into lines, in batches of a few thousand, whatever its length.

Parsing is CPU work, so each batch runs in a thread and the event loop stays free. A row that cannot be parsed does not stop
the parsing: up to ``MAX_BAD`` errors are collected, so that a person can correct them all at once. A value that the mapping
does not know is one error, however many lines have it.
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
from workflows.reconciliation.statements.lines import BadLine, ParsedLine, UnreadableStatement, cell_of, read_json_line
from workflows.reconciliation.statements.masking import CardDataScan, write_masked_csv, write_masked_json_lines
from workflows.reconciliation.statements.parse_row import row_reader, try_row

BATCH_LINES = 5_000  # a tenth of a second of parsing, a megabyte of memory
MAX_BAD = 20
MAX_LINE_CHARACTERS = (
    20_000  # so that a file without line ends is refused early; the limit of csv for one cell is higher
)

Cells = Generator[tuple[int, list[str]], None, None]


@dataclass
class OpenedStatement:
    """A file whose header was read. ``rows`` yields its rows, ``bad`` are the lines that could not be parsed so far."""

    mapping: StatementMapping
    format: str
    header: list[str]
    rows: Cells
    scan: CardDataScan
    bad: list[BadLine] = field(default_factory=list)
    known_complaints: set[tuple[str, str]] = field(default_factory=set)

    def close(self) -> None:
        """Detach from the file, which stays open."""
        self.rows.close()

    async def batches(self) -> AsyncIterator[list[ParsedLine]]:
        """Yield the lines in batches. Raises ``InvalidRequest`` at the end, or after ``MAX_BAD`` bad lines."""
        read = row_reader(self.mapping, self.header, self.scan)
        while len(self.bad) < MAX_BAD:
            batch = await asyncio.to_thread(self._batch, read)
            if not batch and self.bad:
                break
            if not batch:
                return
            if not self.bad:
                yield [line for line in batch if isinstance(line, ParsedLine)]
        raise unreadable_file_error(self.bad)

    @asynccontextmanager
    async def copy_to_store(self, file: IO[bytes]) -> AsyncIterator[IO[bytes]]:
        """Yield the file to store, once all rows are read: ``file``, or a copy with its card numbers masked."""
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
        except UnreadableStatement as why:  # the file itself is malformed here, so nothing after it can be read
            self.bad.append(BadLine(-1, why.field, why.issue))
            return []
        return lines

    def _is_new(self, line: BadLine) -> bool:
        if line.value is None:
            return True
        complaint = (line.field, line.value)
        is_new = complaint not in self.known_complaints
        self.known_complaints.add(complaint)
        return is_new


def unreadable_file_error(bad: list[BadLine]) -> InvalidRequest:
    """Return the error for a file with these bad lines."""
    details = [
        Detail(f"lines.{line.where}.{line.field}" if line.where >= 0 else line.field, line.issue) for line in bad
    ]
    return InvalidRequest(*details[:MAX_BAD], message="The statement cannot be read; nothing of it was stored")


def open_statement(
    file: IO[bytes], *, provider: str, format_: str, mapping: StatementMapping | None
) -> OpenedStatement:
    """Read the header of a file in ``csv`` or ``json_lines``.

    Raises ``InvalidRequest`` if the header does not fit the mapping.
    """
    encoding, delimiter = (mapping.encoding, mapping.delimiter) if mapping else ("utf-8", ",")
    scan = CardDataScan()
    rows = _csv(file, encoding, delimiter) if format_ == "csv" else _json_lines(file, scan)
    try:
        header = next(rows, (0, []))[1]
        if not header:
            raise UnreadableStatement("file", "Must begin with a line of column names")
        found = mapping or default_mapping(provider, header)
        row_reader(found, header, scan)  # raises its errors before anything else is done
    except (UnreadableStatement, ValidationError) as error:
        rows.close()
        raise unreadable_file_error([_bad_line(error)]) from error
    scan.scan_names(header)
    return OpenedStatement(found, format_, header, rows, scan)


def default_mapping(provider: str, header: Sequence[str]) -> StatementMapping:
    """Return the mapping for a file that has none.

    The mapping is the provider's own, or one of columns named like our fields. Raises ``pydantic.ValidationError`` if
    ``header`` has too few of these names.
    """
    return mapping_of(provider) or StatementMapping(columns={name: name for name in header if name in FIELDS})


def _bad_line(error: UnreadableStatement | ValidationError) -> BadLine:
    if isinstance(error, UnreadableStatement):
        return BadLine(-1, error.field, error.issue)
    issues = (str(issue["msg"]).removeprefix("Value error, ") for issue in error.errors())
    return BadLine(-1, "mapping", "; ".join(issues))


def _csv(file: IO[bytes], encoding: str, delimiter: str) -> Cells:
    # Excel marks UTF-8 with a byte order mark at the beginning.
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
