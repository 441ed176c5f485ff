"""Test row-level security with raw SQL under the application's role, for every table, including future ones."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from mpac.stack.local_stack import LocalStack
from tests.harness import clone_of_template
from tests.integration.tenants.planted_rows import TAGS, TENANTS, Connection, Table, plant

SCOPES = ("none", "store", "merchant", "psp", "system")
OPERATORS_ONLY = {"dead_letters", "switches"}
"""Tables without tenant data, which the policies open to system operators only."""


class Planted:
    """A database with planted rows, and its tables."""

    def __init__(self, connection: Connection, tables: list[Table]) -> None:
        self.connection = connection
        self.tables = tables

    @property
    def tenants_tables(self) -> list[Table]:
        """The tables with tenants' rows to which callers may have access."""
        return [table for table in self.tables if table.has_security and table.name not in OPERATORS_ONLY]

    @asynccontextmanager
    async def caller(self, scope: str) -> AsyncIterator[Connection]:
        """Yield a transaction like that of a caller of tenant a with ``scope``. It is rolled back."""
        own = TENANTS["a"]
        known = {
            "none": {},
            "store": {"merchant_id": own["merchant"], "store_id": own["store"]},
            "merchant": {"merchant_id": own["merchant"]},
            "psp": {"psp_id": own["psp"]},
            "system": {},
        }[scope]
        async with self.connection.transaction(force_rollback=True):
            await self.connection.execute("SET LOCAL ROLE mpac_caller")
            for name in ("psp_id", "merchant_id", "store_id"):
                await self.connection.execute("SELECT set_config(%s, %s, true)", [f"mpac.{name}", known.get(name, "")])
            if scope != "none":
                await self.connection.execute("SELECT set_config('mpac.scope', %s, true)", [scope])
            yield self.connection

    async def refusal(
        self, statement: object, parameters: object = None
    ) -> psycopg.errors.InsufficientPrivilege | None:
        """Return the privilege error of ``statement``, or ``None`` if it succeeded.

        The statement's effects are rolled back.
        """
        try:
            async with self.connection.transaction(force_rollback=True):
                await self.connection.execute(statement, parameters)  # type: ignore[call-overload]
        except psycopg.errors.InsufficientPrivilege as error:
            return error
        return None


@pytest.fixture(scope="module")
async def planted(stack: LocalStack) -> AsyncIterator[Planted]:
    async with (
        clone_of_template(stack.urls.database) as url,
        await psycopg.AsyncConnection.connect(url, autocommit=True, row_factory=dict_row) as connection,
    ):
        yield Planted(connection, await plant(connection))


def _expected(table: Table, scope: str) -> tuple[set[str], set[str]]:
    """Return the tags whose rows must be visible, and the tags whose rows must not."""
    if scope == "system":
        return set(TAGS) - ({"next"} if table.name in ("psps", "merchants") else set()), set()
    if scope == "none" or (table.name == "psps" and scope != "psp"):
        return set(), set(TAGS)
    if scope == "store" and table.is_per_store:
        return {"a"}, {"next", "b"}
    return {"a"}, {"b"}


def test_every_table_with_rows_of_tenants_has_row_level_security(planted: Planted) -> None:
    assert {table.name for table in planted.tenants_tables} >= {
        "psps",
        "merchants",
        "stores",
        "store_providers",
        "devices",
        "device_history",
        "activation_codes",
        "payments",
        "payment_history",
        "payment_attempts",
        "payment_messages",
        "idempotency_records",
    }
    for table in planted.tables:
        says_whose = any(column.name in ("merchant_id", "psp_id", "store_id") for column in table.columns)
        assert table.has_security or not says_whose, (
            f"{table.name} needs ROW LEVEL SECURITY and a policy for mpac_caller"
        )
        assert table.has_security or not table.rights, f"mpac_caller may touch {table.name}, which has no policy"


async def test_callers_have_no_right_on_a_partition_by_its_own_name(planted: Planted) -> None:
    partitions = await planted.connection.execute(
        "SELECT relname, relrowsecurity, has_any_column_privilege('mpac_caller', oid, 'SELECT, INSERT, UPDATE')"
        "    OR has_table_privilege('mpac_caller', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') AS may"
        " FROM pg_class WHERE relispartition AND relkind = 'r' ORDER BY 1"
    )
    found = await partitions.fetchall()
    assert len(found) >= 5 * 4, "they were not found"
    assert [row["relname"] for row in found if row["may"] or not row["relrowsecurity"]] == []
    policies = await planted.connection.execute(
        "SELECT c.relname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid"
        " WHERE c.relispartition AND ('mpac_caller'::regrole = ANY(p.polroles) OR 0 = ANY(p.polroles))"
    )
    assert await policies.fetchall() == []


@pytest.mark.parametrize("scope", SCOPES)
async def test_row_level_security_shows_only_the_callers_rows(planted: Planted, scope: str) -> None:
    looked_at = 0
    for table in planted.tenants_tables:
        if "SELECT" not in table.rights:
            continue
        async with planted.caller(scope) as connection:
            found = await connection.execute(SQL("SELECT planted_for FROM {}").format(Identifier(table.name)))
            seen = {row["planted_for"] for row in await found.fetchall()}
        visible, hidden = _expected(table, scope)
        assert visible <= seen, f"{table.name}: scope {scope} sees only {seen}"
        assert not hidden & seen, f"{table.name}: scope {scope} sees {seen}"
        looked_at += 1
    assert looked_at >= 12


@pytest.mark.parametrize("scope", SCOPES)
async def test_row_level_security_lets_a_caller_change_no_row_of_another_tenant(planted: Planted, scope: str) -> None:
    looked_at = 0
    for table in planted.tenants_tables:
        _, hidden = _expected(table, scope)
        for column in table.updatable:
            statement = SQL("UPDATE {table} SET {column} = {column} WHERE planted_for = ANY (%s)").format(
                table=Identifier(table.name), column=Identifier(column)
            )
            async with planted.caller(scope) as connection:
                assert (await connection.execute(statement, [sorted(hidden)])).rowcount == 0, f"{table.name}.{column}"
            async with planted.caller("system") as connection:  # otherwise the test could not fail
                assert (await connection.execute(statement, [list(TAGS)])).rowcount > 0, f"{table.name}.{column}"
            looked_at += 1
    assert looked_at > 20


@pytest.mark.parametrize("scope", SCOPES[:-1])
async def test_row_level_security_lets_a_caller_delete_no_row_of_another_tenant(planted: Planted, scope: str) -> None:
    deletable = [table for table in planted.tenants_tables if "DELETE" in table.rights]
    assert "store_providers" in {table.name for table in deletable}
    for table in deletable:
        async with planted.caller(scope) as connection:
            statement = SQL("DELETE FROM {} WHERE planted_for = 'b'").format(Identifier(table.name))
            assert (await connection.execute(statement)).rowcount == 0, table.name


@pytest.mark.parametrize("scope", SCOPES[:-1])
async def test_row_level_security_lets_a_caller_insert_no_row_for_another_tenant(planted: Planted, scope: str) -> None:
    looked_at = 0
    for table in planted.tenants_tables:
        if "INSERT" not in table.rights:
            continue
        foreign = table.insert(table.row("b", 99))
        async with planted.caller(scope):
            error = await planted.refusal(*foreign)
        assert error is not None, f"{table.name}: scope {scope} inserted a row of another tenant"
        assert "row-level security" in str(error)
        async with planted.caller("system"):  # proves that the statement itself is valid
            assert await planted.refusal(*foreign) is None, table.name
        looked_at += 1
    assert looked_at >= 6


@pytest.mark.parametrize("scope", ["store", "merchant", "psp"])
async def test_row_level_security_lets_a_caller_move_no_row_to_another_tenant(planted: Planted, scope: str) -> None:
    for table in planted.tenants_tables:
        for column in {"psp_id", "merchant_id"} & {column.name for column in table.columns}:
            entity = column.removesuffix("_id")
            statement = SQL("UPDATE {} SET {} = %s WHERE planted_for = 'a'").format(
                Identifier(table.name), Identifier(column)
            )
            async with planted.caller(scope):
                error = await planted.refusal(statement, [TENANTS["b"][entity]])
            assert error is not None, f"{table.name}.{column}: a row was given away"
