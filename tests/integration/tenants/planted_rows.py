"""Insert rows of three tenants into every table of a database, whatever the table is about.

Row-level security is tested in isolation, so the clone loses its CHECKs, foreign keys and triggers, and the rows are built
from the catalogue: a new table is covered as soon as its migration exists. The column ``planted_for`` of each row has the
tenant's tag.

| tag    | psp   | merchant   | store   |                                         |
|--------|-------|------------|---------|-----------------------------------------|
| a      | psp-a | merchant-a | store-a | the caller's own tenant                 |
| next   | psp-a | merchant-a | store-n | another store of the caller's merchant  |
| b      | psp-b | merchant-b | store-b | another tenant                          |
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Identifier

Connection = psycopg.AsyncConnection[DictRow]

TAGS = ("a", "next", "b")
TENANTS = {
    "a": {"psp": "psp-a", "merchant": "merchant-a", "store": "store-a"},
    "next": {"psp": "psp-a", "merchant": "merchant-a", "store": "store-n"},
    "b": {"psp": "psp-b", "merchant": "merchant-b", "store": "store-b"},
}
VALUES: dict[str, Any] = {"bytea": b"x", "json": "{}", "jsonb": "{}"}
"""Values by column type. Other types are filled by PostgreSQL's category of the type."""

OF_CATEGORY: dict[str, Any] = {"A": "{}", "B": False, "D": "2026-01-28 00:00:00+00", "T": "0"}
"""Values for arrays, booleans, dates and intervals. Numbers are counted up, and texts contain the tag."""

NOT_OURS = ("alembic_version",)


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a row must have, its type, and PostgreSQL's category of the type."""

    name: str
    type: str
    category: str


@dataclass(slots=True)
class Table:
    """A table, and what the role ``mpac_caller`` may do with it."""

    name: str
    has_security: bool
    columns: list[Column] = field(default_factory=list)
    rights: set[str] = field(default_factory=set)
    updatable: list[str] = field(default_factory=list)

    @property
    def is_per_store(self) -> bool:
        """Return whether a row belongs to a store, directly or through its device."""
        names = {column.name for column in self.columns}
        return self.name == "stores" or bool({"store_id", "device_id"} & names)

    def row(self, tag: str, number: int) -> dict[str, Any]:
        """Return a row of the tenant ``tag``; ``number`` makes it unique."""
        made = {column.name: self._value(column, tag, number) for column in self.columns}
        return {**made, "planted_for": tag}

    def _value(self, column: Column, tag: str, number: int) -> Any:
        # The last word says what the id refers to: an account_id refers to ledger_accounts.id.
        if column.name == "id":
            # Lists (``due_payments``, ``payment_references``) have the ids of what they list.
            entity = self.name.removesuffix("_references").removesuffix("s").rpartition("_")[2]
            return TENANTS[tag].get(entity, f"{entity}-{tag}") if number < len(TAGS) else f"{entity}-{tag}-{number}"
        if column.name.endswith("_id"):
            entity = column.name.removesuffix("_id").rpartition("_")[2]
            return TENANTS[tag].get(entity, f"{entity}-{tag}")
        if column.category == "S":
            return f"{column.name}-{tag}-{number}"
        return VALUES.get(column.type, OF_CATEGORY.get(column.category, number))

    def insert(self, row: dict[str, Any]) -> tuple[Composed, Sequence[Any]]:
        """Return the statement that inserts ``row``, and its parameters."""
        columns = SQL(", ").join(map(Identifier, row))
        places = SQL(", ").join([SQL("%s")] * len(row))
        statement = SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING")
        return statement.format(Identifier(self.name), columns, places), list(row.values())


async def plant(connection: Connection) -> list[Table]:
    """Drop the constraints, insert three rows into every table, and return the tables."""
    tables = await _tables(connection)
    for table in tables:
        await _free(connection, table)
    for table in tables:
        for number, tag in enumerate(TAGS):
            is_there_already = table.name in ("psps", "merchants") and tag == "next"
            if not is_there_already:
                await connection.execute(*table.insert(table.row(tag, number)))
    return tables


async def _free(connection: Connection, table: Table) -> None:
    name = Identifier(table.name)
    constraints = await connection.execute(
        "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('c', 'f')", [table.name]
    )
    for row in await constraints.fetchall():
        await connection.execute(SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(name, Identifier(row["conname"])))
    partitions = await connection.execute(
        "SELECT relid::regclass::text AS name FROM pg_partition_tree(%s::regclass)", [table.name]
    )
    for part in [table.name, *(row["name"] for row in await partitions.fetchall())]:  # they have triggers of their own
        await connection.execute(SQL("ALTER TABLE {} DISABLE TRIGGER ALL").format(Identifier(part)))
    await connection.execute(SQL("ALTER TABLE {} ADD COLUMN planted_for text").format(name))


async def _tables(connection: Connection) -> list[Table]:
    found = await connection.execute(
        "SELECT relname, relrowsecurity FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname"
    )
    tables = [Table(row["relname"], row["relrowsecurity"]) for row in await found.fetchall()]
    tables = [table for table in tables if table.name not in NOT_OURS]
    for table in tables:
        table.columns = await _columns(connection, table.name)
        rights = await connection.execute(
            "SELECT unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS name,"
            " has_table_privilege('mpac_caller', %(table)s,"
            " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'])) AS may",
            {"table": table.name},
        )
        table.rights = {row["name"] for row in await rights.fetchall() if row["may"]}
        updatable = await connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped"
            " AND has_column_privilege('mpac_caller', %(table)s, attname, 'UPDATE')",
            {"table": table.name},
        )
        table.updatable = [row["attname"] for row in await updatable.fetchall()]
    return tables


async def _columns(connection: Connection, table: str) -> list[Column]:
    rows = await connection.execute(
        "SELECT attname, typname, typcategory FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = '' AND attgenerated = ''"
        " AND ((attnotnull AND NOT atthasdef) OR attname ~ '_id$')",
        [table],
    )
    return [Column(row["attname"], row["typname"], row["typcategory"]) for row in await rows.fetchall()]
