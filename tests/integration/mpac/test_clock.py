"""`mpac clock` makes an ordinary stack's database clock movable, and moves it together with the provider's or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import psycopg
import pytest

from mpac.cli.errors import UserError
from mpac.stack.clock.install import install
from mpac.stack.clock.move import StackClock
from mpac.stack.clock.provider import ProviderClock, ProviderUnreachable
from mpac.stack.database_profile import SERVERS_OF_THE_USERS
from mpac.stack.local_stack import LocalStack
from sandbox.clock import MAX_AHEAD_SECONDS
from tests.integration.mpac.stack_harness import mpac
from tests.polling import eventually

SERVICES = ("postgres", "valkey", "sandbox", "migrate")
HOUR = 3_600
AHEAD = "SELECT extract(epoch FROM now() - pg_catalog.now())::bigint"
BOUND_TO_POSTGRES = """
WITH texts AS (
    SELECT 'default' AS kind, attrelid::regclass::text AS name, pg_get_expr(adbin, adrelid) AS text
    FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
    UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
    UNION ALL SELECT 'policy', polname, coalesce(pg_get_expr(polqual, polrelid), '') ||
        coalesce(pg_get_expr(polwithcheck, polrelid), '') FROM pg_policy
    UNION ALL SELECT 'view', c.relname, pg_get_viewdef(c.oid) FROM pg_class c
        WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace
    UNION ALL SELECT 'rule of a trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger
    UNION ALL SELECT 'function with a path of its own', proname, coalesce(pg_get_function_sqlbody(oid), prosrc) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND (proconfig::text LIKE '%%search_path%%' OR prosqlbody IS NOT NULL)
)
SELECT kind, name FROM texts WHERE text ~ '(^|[^.\\w])(now|clock_timestamp)\\(' OR text ~ 'pg_catalog\\.(now|clock_timestamp)'
"""


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """Yield an ordinary stack without workers. The first test that opens its clock makes it movable."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SERVERS_OF_THE_USERS:
            patch.delenv(name, raising=False)
        async with LocalStack(tmp_path_factory.mktemp("clock") / "home", services=SERVICES, durable=False) as stack:
            yield stack


@pytest.fixture(scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


class LostAfter(ProviderClock):
    """A provider's clock that moves, but whose answers are lost, as after a caller was killed."""

    async def move(self, ahead_seconds: int) -> int:
        await super().move(ahead_seconds)
        raise ProviderUnreachable("lost")

    async def ahead_seconds(self) -> int:
        raise ProviderUnreachable("lost")


class NeverArrives(ProviderClock):
    """A provider's clock that no request to move it reaches."""

    async def move(self, ahead_seconds: int) -> int:
        raise ProviderUnreachable("lost")


@asynccontextmanager
async def clock_state_of(
    stack: LocalStack, session: aiohttp.ClientSession, kind: type[ProviderClock] = ProviderClock
) -> AsyncIterator[StackClock]:
    """Yield the clock of a stack as `mpac clock` opens it; ``kind`` replaces the provider's clock."""
    url = stack.urls.database
    await install(url)
    real = ProviderClock(session, stack.urls.sandbox, stack.control_key)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        clock = StackClock(connection, real, database_url=url)
        await clock.read()
        clock._provider = kind(session, stack.urls.sandbox, stack.control_key)
        yield clock


async def move(clock: StackClock, ahead_seconds: int) -> None:
    async def look(_seconds: int) -> None: ...

    await clock.move(ahead_seconds, report_waiting=lambda _count: None, before_move=look)


async def ask(stack: LocalStack, question: str, *values: Any) -> Any:
    async with await psycopg.AsyncConnection.connect(stack.urls.database, autocommit=True) as connection:
        row = await (await connection.execute(question.encode(), values)).fetchone()
        return row[0] if row else None


async def write(stack: LocalStack) -> None:
    """Run an UPDATE of payments that changes no row.

    Its statement triggers fire nevertheless, as those of accept and claim do.
    """
    await ask(stack, "UPDATE payments SET id = id WHERE false RETURNING id")


async def test_showing_a_clock_that_was_never_moved_changes_nothing(own: LocalStack) -> None:
    before = await ask(own, "SELECT count(*) FROM pg_namespace")
    looked = mpac("clock", home=own.home.path)
    assert looked.returncode == 0, looked.stderr
    assert "as this machine" in looked.stdout
    assert await ask(own, "SELECT count(*) FROM pg_namespace") == before
    assert await ask(own, "SELECT current_setting('search_path')") == '"$user", public'


async def test_no_column_or_function_reads_the_machines_clock_after_the_first_move(
    own: LocalStack, session: aiohttp.ClientSession
) -> None:
    async with clock_state_of(own, session):
        async with await psycopg.AsyncConnection.connect(own.urls.database) as connection:
            await connection.execute("SET search_path = ''")
            bound = await (await connection.execute(BOUND_TO_POSTGRES.encode())).fetchall()
        assert bound == []


async def test_older_connections_are_closed_as_soon_as_they_are_idle(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with LocalStack(tmp_path_factory.mktemp("clock") / "home", services=SERVICES, durable=False) as stack:
        idle = await psycopg.AsyncConnection.connect(stack.urls.database, autocommit=True)
        busy = await psycopg.AsyncConnection.connect(stack.urls.database)
        await busy.execute("SELECT now()")
        installing = asyncio.create_task(install(stack.urls.database))
        elsewhere = stack.urls.database.removesuffix("/mpac") + "/postgres"  # another database: it is not cut
        there = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
        async with await psycopg.AsyncConnection.connect(elsewhere, autocommit=True) as other:

            async def left() -> int:
                row = await (await other.execute(there, [idle.info.backend_pid])).fetchone()
                return int(row[0]) if row else 0

            await eventually(left, until=lambda count: count == 0)
        with pytest.raises(psycopg.OperationalError):
            await idle.execute("SELECT now()")
        await idle.close()
        assert not installing.done()
        await busy.execute("SELECT now()")
        await busy.commit()
        await installing
        with pytest.raises(psycopg.OperationalError):
            await busy.execute("SELECT now()")
        await busy.close()


async def test_both_clocks_move_and_timestamps_of_the_machine_are_shifted(
    own: LocalStack, session: aiohttp.ClientSession
) -> None:
    async with clock_state_of(own, session) as clock:
        await ask(
            own,
            "INSERT INTO canaries (queue, sent_at, consumed_at) VALUES ('payments', now(), now()) RETURNING queue",
        )
        assertion = """
            INSERT INTO used_assertions (client_id, jti, expires_at) VALUES ('cli_x', %s, pg_catalog.now()) RETURNING jti
        """
        await ask(own, assertion, "before")
        ahead = clock.ahead_seconds + HOUR
        await move(clock, ahead)
        assert (clock.ahead_seconds, clock.provider_ahead_seconds, clock.clocks_differ) == (ahead, ahead, False)
        assert await ask(own, AHEAD) == ahead
        await ask(own, assertion, "after")
        heard = await ask(own, "SELECT max(now() - consumed_at) FROM canaries")
        used = await ask(own, "SELECT max(now() - expires_at) FROM used_assertions")
        assert timedelta(0) <= max(heard, used) < timedelta(seconds=HOUR)


async def test_no_clock_moves_while_a_transaction_has_uncommitted_writes(
    own: LocalStack, session: aiohttp.ClientSession
) -> None:
    async with clock_state_of(own, session) as clock:
        before = clock.ahead_seconds
        async with await psycopg.AsyncConnection.connect(own.urls.database) as writer:
            await writer.execute("UPDATE stores SET id = id WHERE false")
            moving = asyncio.create_task(move(clock, before + HOUR))
            await asyncio.wait([moving], timeout=1)
            assert not moving.done()
            assert await ask(own, AHEAD) == before
            assert await ask(own, "SELECT intended IS NULL FROM movable_clock.moved")
            await writer.commit()
        await moving
        assert clock.ahead_seconds == clock.provider_ahead_seconds == before + HOUR


async def test_no_clock_moves_if_the_provider_refuses(own: LocalStack, session: aiohttp.ClientSession) -> None:
    async with clock_state_of(own, session) as clock:
        before = clock.ahead_seconds
        with pytest.raises(UserError, match="refuses"):
            await move(clock, MAX_AHEAD_SECONDS + 1)
        await clock.read()
        assert (clock.ahead_seconds, clock.provider_ahead_seconds, clock.clocks_differ) == (before, before, False)
        await write(own)


async def test_no_clock_moves_if_the_provider_is_not_reached(own: LocalStack, session: aiohttp.ClientSession) -> None:
    async with clock_state_of(own, session, NeverArrives) as clock:
        before = clock.ahead_seconds
        with pytest.raises(UserError, match="nothing was moved"):
            await move(clock, before + HOUR)
        await clock.read()
        assert (clock.ahead_seconds, clock.clocks_differ) == (before, False)
        await write(own)


async def test_an_interrupted_clock_move_blocks_payments_until_the_next_call_finishes_it(
    own: LocalStack, session: aiohttp.ClientSession
) -> None:
    async with clock_state_of(own, session, LostAfter) as clock:
        ahead = clock.ahead_seconds + HOUR
        with pytest.raises(UserError, match="unknown"):
            await move(clock, ahead)
        assert await ask(own, AHEAD) == ahead - HOUR
    for table in ("payments", "refunds"):
        with pytest.raises(psycopg.errors.LockNotAvailable, match="was interrupted"):
            await ask(own, f"UPDATE {table} SET id = id WHERE false RETURNING id")
    status = mpac("status", home=own.home.path)
    assert (status.returncode, "payments are refused" in status.stdout) == (1, True)

    mended = mpac("clock", home=own.home.path)
    assert mended.returncode == 0, mended.stderr
    assert "The interrupted move is finished." in mended.stdout
    async with clock_state_of(own, session) as clock:
        assert (clock.ahead_seconds, clock.provider_ahead_seconds, clock.clocks_differ) == (ahead, ahead, False)
    await write(own)
    assert mpac("status", home=own.home.path).returncode == 0


async def test_a_clock_command_that_stops_midway_releases_its_locks(
    own: LocalStack, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(ProviderClock):
        async def move(self, ahead_seconds: int) -> int:
            moved = await super().move(ahead_seconds)
            await ask(own, "UPDATE stores SET id = id WHERE false RETURNING id")  # waits for the locks to be released
            return moved

    monkeypatch.setattr("mpac.stack.clock.move.MOST_IDLE_SECONDS", 1)
    async with clock_state_of(own, session, Stopped) as clock:
        ahead = clock.ahead_seconds + HOUR
        with pytest.raises(psycopg.Error):
            await move(clock, ahead)
    assert await ask(own, AHEAD) == ahead - HOUR
    await ask(own, "UPDATE stores SET id = id WHERE false RETURNING id")
    assert mpac("clock", home=own.home.path).returncode == 0
    assert await ask(own, AHEAD) == ahead
    await write(own)


async def test_a_provider_clock_that_was_moved_alone_is_reported_and_followed(
    own: LocalStack, session: aiohttp.ClientSession
) -> None:
    real = ProviderClock(session, own.urls.sandbox, own.control_key)
    ahead = await real.move(await real.ahead_seconds() + HOUR)
    assert "Database and provider differ" in mpac("clock", home=own.home.path).stdout
    caught_up = mpac("clock", "+0s", home=own.home.path)
    assert "now they agree" in caught_up.stdout, caught_up.stderr
    assert await ask(own, AHEAD) == ahead


async def test_a_second_concurrent_clock_move_is_refused(own: LocalStack, session: aiohttp.ClientSession) -> None:
    async with clock_state_of(own, session) as clock:
        await clock.lock_moves()
        second = mpac("clock", "+1h", home=own.home.path)
        assert (second.returncode, "Another `clock` command" in second.stderr) == (1, True)


async def test_an_unreachable_provider_is_reported_before_any_clock_moves(own: LocalStack) -> None:
    before = await ask(own, AHEAD)
    await own.stop("sandbox")
    try:
        refused = mpac("clock", "+1h", home=own.home.path)
    finally:
        await own.start("sandbox")
    assert (refused.returncode, "provider" in refused.stderr) == (1, True), refused.stderr
    assert await ask(own, AHEAD) == before


async def test_the_clock_stays_ahead_after_a_restart_of_the_database(own: LocalStack) -> None:
    before = await ask(own, AHEAD)
    await own.stop("postgres")
    await own.start("postgres")
    assert await ask(own, AHEAD) == before > 0
    assert "ahead of this machine" in mpac("status", home=own.home.path).stdout
