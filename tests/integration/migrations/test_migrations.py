"""The migrations form one chain that works in both directions, match the mapped classes, and may run concurrently."""

import asyncio
import os
import re
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from mpac.stack.commands import migrate as migrate_command
from mpac.stack.local_stack import LocalStack
from tests.harness import alembic_config, database_variable, empty_database, migrate

VERSIONS = Path(__file__).parents[3] / "migrations" / "versions"

FIRST_IN_USE = "0018"  # earlier migrations were never run on a database in use
GROWING = re.compile(r"payment|refund|order|bill|settlement|ledger|statement|break|idempotency|\{")
"""Matches names of tables that may have millions of rows, and ``{``, with which an f-string inserts a name."""

BLOCKING_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)\S+\s+ON\s+(\S+)")
NEW_TABLE = re.compile(r"CREATE TABLE (\S+)")

SCHEMA = """
    SELECT 'column', table_name, column_name, data_type || is_nullable || coalesce(column_default, '')
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'policy', tablename, policyname, coalesce(qual, '') || coalesce(with_check, '') || roles::text
    FROM pg_policies WHERE schemaname = 'public'
    UNION ALL SELECT 'grant', table_name, grantee, string_agg(privilege_type, ',' ORDER BY privilege_type)
    FROM information_schema.role_table_grants WHERE table_schema = 'public' GROUP BY 2, 3
    UNION ALL SELECT 'function', '', proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    ORDER BY 1, 2, 3, 4
"""


async def schema(url: str) -> list[tuple[str, ...]]:
    """Return everything that the migrations create, as text."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return [tuple(row) for row in await (await connection.execute(SCHEMA.encode())).fetchall()]


async def alembic(url: str, name: str, *words: str) -> None:
    with database_variable(url):
        await asyncio.to_thread(getattr(command, name), alembic_config(), *words)


async def test_the_mapped_classes_match_the_migrated_schema(own_database: str) -> None:
    await alembic(own_database, "check")


async def test_downgrade_and_upgrade_recreate_the_same_schema(stack: LocalStack, own_database: str) -> None:
    before = await schema(own_database)
    await alembic(own_database, "downgrade", "base")
    left = {row[:3] for row in await schema(own_database)} - {("column", "alembic_version", "version_num")}
    assert {row for row in left if "alembic_version" not in row[1]} == set()
    await migrate(own_database)
    assert await schema(own_database) == before


async def test_each_migration_can_be_downgraded_and_upgraded(own_database: str) -> None:
    revisions = [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()]
    for _ in revisions[:-1]:
        await alembic(own_database, "downgrade", "-1")
    for revision in reversed(revisions):
        await migrate(own_database, revision)
    await alembic(own_database, "check")


async def test_two_concurrent_migrations_run_one_after_the_other(stack: LocalStack) -> None:
    async with empty_database(stack.urls.database) as url:
        await asyncio.gather(upgrade_as_a_process(url), upgrade_as_a_process(url))
        assert await schema(url)


async def upgrade_as_a_process(url: str) -> None:
    """Run ``mpac migrate`` as a container does.

    Alembic's state is global, so concurrent runs need two processes.
    """
    environment = {**os.environ, "MPAC_DATABASE_URL": url}
    process = await asyncio.create_subprocess_exec(
        *migrate_command(), cwd=VERSIONS.parents[1], env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


def test_the_migrations_form_one_chain_without_branches() -> None:
    directory = ScriptDirectory.from_config(alembic_config())
    assert len(directory.get_heads()) == 1
    numbers = [script.revision for script in directory.walk_revisions()][::-1]
    assert numbers == [f"{number:04d}" for number in range(1, len(numbers) + 1)]


@pytest.mark.parametrize("path", sorted(VERSIONS.glob("*.py")), ids=lambda path: path.name)
def test_migrations_import_no_product_code(path: Path) -> None:
    imported = re.findall(r"^(?:from|import) (\S+)", path.read_text(), re.MULTILINE)
    assert "alembic" in imported
    assert set(imported) <= {"alembic", "sqlalchemy.exc", "time"}


IN_USE = [path for path in sorted(VERSIONS.glob("*.py")) if path.name >= FIRST_IN_USE]


@pytest.mark.parametrize("path", IN_USE, ids=lambda path: path.name)
def test_no_migration_stops_the_writes_to_a_large_table_while_it_builds_an_index(path: Path) -> None:
    said = path.read_text()
    large = [table for table in BLOCKING_INDEX.findall(said) if GROWING.search(table)]
    assert set(large) <= set(NEW_TABLE.findall(said)), "build it CONCURRENTLY: every write would wait"
