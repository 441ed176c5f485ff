"""Write a month's rows to files, read them back, and compare them with the tables.

```
DIR/2026-11/ledger_entries.csv.gz    one file per table: CSV with a header, in the order of its primary key
DIR/2026-11/…
DIR/2026-11/manifest.json            rows, sums of money, schema revision, SHA-256 of each file and of its content
```

Each file is written under a temporary name, synced to the disk and renamed, the manifest last: a folder with a manifest is
complete. The month is frozen, and the order and format of its rows are fixed, so writing them again gives the same content.
``verify`` computes the hash of the content from the table and from the file. They are equal only if every byte is.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from psycopg.sql import SQL, Identifier

from workflows.archive.months import PRIMARY_KEYS, PUBLIC, TABLES, Connection, Month

MANIFEST = "manifest.json"
BLOCK_BYTES = 1 << 20
_FORMAT = ("SET LOCAL TimeZone = 'UTC'", "SET LOCAL DateStyle = 'ISO, YMD'", "SET LOCAL extra_float_digits = 1")
_SUMS = """
    SELECT j.merchant_id, j.currency, j.kind, count(DISTINCT j.id) AS journals,
           sum(e.amount) FILTER (WHERE e.amount > 0)::bigint AS debited
    FROM {journals} j JOIN {entries} e ON e.journal_id = j.id GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


class FilesDiffer(Exception):
    """The files of a month are incomplete or damaged, or differ from its tables."""


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """The file of a table. ``content_sha256`` is that of the uncompressed rows."""

    file: str
    rows: int
    bytes: int
    sha256: str
    content_sha256: str


def write_files(connection: Connection, month: Month, folder: Path) -> dict[str, Any]:
    """Write the rows of a frozen month to ``folder``, and return the manifest that was written last.

    Must be called in a transaction. Files of an interrupted attempt are replaced. Raises ``OSError``.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for setting in _FORMAT:
        connection.execute(setting)
    tables = {table: _write_table(connection, month, table, folder) for table in TABLES}
    revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    names = {"journals": month.table("ledger_journals"), "entries": month.table("ledger_entries")}
    manifest = {
        "month": month.label,
        "ids_from": month.low,
        "ids_below": month.high,
        "schema_revision": revision and revision["version_num"],
        "tables": {table: asdict(written) for table, written in tables.items()},
        "sums": connection.execute(SQL(_SUMS).format(**names)).fetchall(),
    }
    with _replaced(folder / MANIFEST) as file:
        file.write(json.dumps(manifest, indent=2).encode() + b"\n")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of the month in ``folder``. Raises ``FilesDiffer`` if there is none."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise FilesDiffer(f"{folder / MANIFEST} is missing or not valid JSON") from error
    return manifest


def verify(
    connection: Connection, month: Month, folder: Path, manifest: dict[str, Any], *, schema: str = PUBLIC
) -> None:
    """Read the files back, and compare them with ``manifest`` and with the month's tables in ``schema``.

    Must be called in a transaction. Raises ``FilesDiffer``.
    """
    if read_manifest(folder) != manifest:
        raise FilesDiffer(f"{folder / MANIFEST} is not the one that was recorded when the month was archived")
    for setting in _FORMAT:
        connection.execute(setting)
    for table in TABLES:
        written = WrittenTable(**manifest["tables"][table])
        _verify_file(folder / written.file, written)
        _verify_table(connection, month, table, written, schema=schema)


def _verify_file(path: Path, written: WrittenTable) -> None:
    if _hash_file(path) != written.sha256:
        raise FilesDiffer(f"{path} is damaged: its SHA-256 differs from the manifest")
    if _hash_content(path) != (written.rows, written.content_sha256):
        raise FilesDiffer(f"{path} is damaged: its content differs from the manifest")


def _verify_table(connection: Connection, month: Month, table: str, written: WrittenTable, *, schema: str) -> None:
    digest = hashlib.sha256()
    for block in _copy(connection, month, table, schema=schema):
        digest.update(block)
    rows = _count(connection, month, table, schema=schema)
    if (rows, digest.hexdigest()) != (written.rows, written.content_sha256):
        raise FilesDiffer(f"{written.file} of {month.label} differs from the table: {written.rows:,} rows and {rows:,}")


def _write_table(connection: Connection, month: Month, table: str, folder: Path) -> WrittenTable:
    path, content = folder / f"{table}.csv.gz", hashlib.sha256()
    with (
        _replaced(path) as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed,
    ):
        for block in _copy(connection, month, table, schema=PUBLIC):
            content.update(block)
            packed.write(block)
    rows = _count(connection, month, table, schema=PUBLIC)
    return WrittenTable(path.name, rows, path.stat().st_size, _hash_file(path), content.hexdigest())


def _copy(connection: Connection, month: Month, table: str, *, schema: str) -> Iterator[bytes]:
    order = SQL(", ").join(Identifier(column) for column in PRIMARY_KEYS[table])
    statement = SQL("COPY (SELECT * FROM {} ORDER BY {}) TO STDOUT (FORMAT csv, HEADER)").format(
        month.table(table, schema=schema), order
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for block in copy:
            yield bytes(block)


def _count(connection: Connection, month: Month, table: str, *, schema: str) -> int:
    row = connection.execute(SQL("SELECT count(*) AS n FROM {}").format(month.table(table, schema=schema))).fetchone()
    assert row is not None  # noqa: S101 - an aggregate
    rows: int = row["n"]
    return rows


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise FilesDiffer(f"{path} is missing") from error


def _hash_content(path: Path) -> tuple[int, str]:
    """Return the number of rows in a file, without its header, and the hash of its content.

    A line break within quotes does not end a row: quotes are doubled, so a row has an even number of them.
    """
    digest, records, quotes = hashlib.sha256(), 0, 0
    try:
        with gzip.open(path) as file:
            for line in file:
                digest.update(line)
                quotes += line.count(b'"')
                records += quotes % 2 == 0
    except (OSError, EOFError) as error:
        raise FilesDiffer(f"{path} is damaged: {error}") from error
    return records - 1, digest.hexdigest()


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that takes the place of ``path`` once it is complete and on the disk."""
    temporary = path.with_name(f".{path.name}.part")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
