"""A movable clock applies to the demonstration's database only, not to the other database in the same state folder."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mpac.cli.errors import UserError
from mpac.stack.database_profile import MOVABLE, SERVERS_OF_THE_USERS
from mpac.stack.local_stack import LocalStack
from mpac.stack.movable_clock import MOVE
from mpac.stack.state_folder import Home

SERVICES = ("postgres", "valkey", "migrate")
TWO_DAYS = timedelta(days=2)
ROLES = ("mpac_caller", "mpac_accept", "mpac_worker", "mpac_sweep", "mpac")
AHEAD = "SELECT now() - pg_catalog.now(), clock_timestamp() - pg_catalog.clock_timestamp()"


@pytest.fixture(autouse=True)
def no_servers_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SERVERS_OF_THE_USERS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
async def moved(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """Yield a stack with a movable clock that is two days ahead."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SERVERS_OF_THE_USERS:
            patch.delenv(name, raising=False)
        home = tmp_path_factory.mktemp("movable") / "home"
        async with LocalStack(home, services=SERVICES, profile=MOVABLE, durable=False) as stack:
            assert stack.ahead_seconds == 0
            await move(stack, TWO_DAYS)
            yield stack


async def move(stack: LocalStack, ahead: timedelta) -> int:
    """Move the clock, and return the number of changed rows: 0 if it would have moved backwards."""
    async with await psycopg.AsyncConnection.connect(stack.urls.database, autocommit=True) as connection:
        return (await connection.execute(MOVE, [ahead.total_seconds()] * 2)).rowcount


async def ask(url: str, question: str, *values: Any) -> tuple[Any, ...]:
    """Run the query ``question`` with ``values``, and return the first row."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        row: tuple[Any, ...] | None = await (await connection.execute(question.encode(), values)).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("role", ROLES)
async def test_every_database_role_sees_the_moved_clock(moved: LocalStack, role: str) -> None:
    url = f"{moved.urls.database}?options=-c%20role%3D{role}"
    now, clock = await ask(url, AHEAD)
    assert now == TWO_DAYS
    assert abs(clock - TWO_DAYS) < timedelta(seconds=1)


async def test_the_moved_clock_keeps_ticking_and_never_moves_back(moved: LocalStack) -> None:
    (before,) = await ask(moved.urls.database, "SELECT clock_timestamp()")
    assert await move(moved, TWO_DAYS - timedelta(seconds=1)) == 0
    (after,) = await ask(moved.urls.database, "SELECT clock_timestamp()")
    assert timedelta(0) < after - before < timedelta(seconds=30)


async def test_column_defaults_use_the_moved_clock(moved: LocalStack) -> None:
    async with await psycopg.AsyncConnection.connect(moved.urls.database) as connection:
        found = await connection.execute(
            "INSERT INTO psps (id, name) VALUES ('psp_tomorrow', 'x') RETURNING created_at - pg_catalog.now()"
        )
        assert await found.fetchone() == (TWO_DAYS,)
        await connection.rollback()


async def test_the_products_tables_remain_in_the_public_schema(moved: LocalStack) -> None:
    (strange,) = await ask(
        moved.urls.database,
        "SELECT array_agg(table_schema || '.' || table_name) FROM information_schema.tables "
        "WHERE table_schema NOT IN ('public', 'pg_catalog', 'information_schema')",
    )
    assert strange == ["movable_clock.moved"]


async def test_a_restarted_movable_clock_stays_ahead_and_the_ordinary_database_is_not(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with LocalStack(home, services=SERVICES, profile=MOVABLE, durable=False) as first:
        await move(first, TWO_DAYS)
        await ask(first.urls.database, "INSERT INTO psps (id, name) VALUES ('psp_mine', 'x') RETURNING id")
    async with LocalStack(home, services=SERVICES, durable=False) as ordinary:
        assert (await ask(ordinary.urls.database, "SELECT now() - pg_catalog.now()")) == (timedelta(0),)
        assert (await ask(ordinary.urls.database, "SELECT count(*) FROM psps")) == (0,)
        assert ordinary.urls.broker.endswith("/0")
    async with LocalStack(home, services=SERVICES, profile=MOVABLE, durable=False) as again:
        assert again.ahead_seconds == TWO_DAYS.total_seconds()
        assert (await ask(again.urls.database, "SELECT count(*) FROM psps")) == (1,)
        assert again.urls.broker.endswith("/1")


@pytest.mark.parametrize("variable", SERVERS_OF_THE_USERS)
def test_the_clock_of_an_external_server_is_never_moved(tmp_path: Path, variable: str) -> None:
    with pytest.raises(UserError, match=f"unset {variable}"):
        LocalStack(
            Home(tmp_path / "home").path, services=SERVICES, profile=MOVABLE, env={variable: "scheme://elsewhere"}
        )
