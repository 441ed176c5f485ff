"""Give the database of a running stack a clock that can be moved.

| step | what | after a crash there |
|---|---|---|
| create | one transaction: functions (``mpac.stack.movable_clock``), path, defaults, triggers | nothing was created |
| renew | close older connections, each between two transactions | the next call closes the others |

Until both steps are done the clock is not ahead, so it does not matter which connections use the new functions already. A
pool notices a connection that was closed while idle, and replaces it before anything is sent (docs/decisions/0141).
"""

import asyncio
from typing import LiteralString

import psycopg

from mpac.cli.errors import UserError
from mpac.stack.movable_clock import CREATE, PATH, SCHEMA

RENEWED_WITHIN_SECONDS = 60
"""A connection is closed between two transactions only, and a long export may last this long."""
POLL_SECONDS = 0.05

_IS_INSTALLED: LiteralString = """
SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('movable_clock.moved') AND attname = 'usable_since')
   AND EXISTS (SELECT FROM pg_trigger WHERE tgname = 'movable_clock_payments')
"""
# Defaults were bound to PostgreSQL's now() when the migrations ran; set again under the new path, they use the new function.
_BIND_DEFAULTS = f"""
DO $$
DECLARE
    bound record;
BEGIN
    PERFORM set_config('search_path', 'pg_catalog, public', true);
    CREATE TEMPORARY TABLE bound_defaults ON COMMIT DROP AS
        SELECT adrelid::regclass::text AS name, attname, pg_get_expr(adbin, adrelid) AS value
        FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
        WHERE pg_get_expr(adbin, adrelid) ~ '\\m(now|clock_timestamp)\\(\\)';
    PERFORM set_config('search_path', '{PATH}', true);
    FOR bound IN SELECT * FROM bound_defaults LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', bound.name, bound.attname, bound.value);
    END LOOP;
END $$;
"""
_TRIGGERS = f"""
-- Until an interrupted move is finished, the provider's clock shows another day than ours.
CREATE OR REPLACE FUNCTION {SCHEMA}.refuse_while_half_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM {SCHEMA}.moved WHERE intended IS NOT NULL) THEN
        RAISE EXCEPTION 'a move of the clock was interrupted: run `python3 run.py clock` to finish it' USING ERRCODE = '55P03';
    END IF;
    RETURN NULL;
END $$;
-- On the whole table and on each month, because statements name either. A month that is made later copies the whole table's.
DO $$
DECLARE part regclass;
BEGIN
    FOR part IN SELECT relid FROM pg_partition_tree('public.payments') LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER {SCHEMA}_payments BEFORE INSERT OR UPDATE ON %s
            FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_while_half_moved()', part);
    END LOOP;
END $$;
CREATE OR REPLACE TRIGGER {SCHEMA}_refunds BEFORE INSERT OR UPDATE ON refunds
    FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_while_half_moved();
-- Assertions are dated by the machine's clock. By the database's clock a used one would be deleted while it is still valid.
CREATE OR REPLACE FUNCTION {SCHEMA}.remember_as_long() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.expires_at := NEW.expires_at + (SELECT ahead FROM {SCHEMA}.moved);
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER {SCHEMA}_assertions BEFORE INSERT ON used_assertions
    FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.remember_as_long();
"""
_OLDER: LiteralString = """
SELECT pid, application_name, state = 'idle' AS is_idle FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND backend_start < (SELECT usable_since FROM movable_clock.moved)
"""


async def install(database_url: str) -> None:
    """Make the clock of this database movable, if it is not yet, and make every connection follow it.

    Raises ``UserError``.
    """
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        if not await _is_true(connection, _IS_INSTALLED):
            async with connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '3s'")
                await connection.execute(CREATE.encode())
                await connection.execute(_BIND_DEFAULTS.encode())
                await connection.execute(_TRIGGERS.encode())
                await connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET search_path = {PATH}'.encode())
        # In a separate transaction, so that a connection that is opened later certainly gets the new path.
        await connection.execute(
            "UPDATE movable_clock.moved SET usable_since = pg_catalog.clock_timestamp() WHERE usable_since IS NULL"
        )
        await _renew(connection)


async def _renew(connection: psycopg.AsyncConnection) -> None:
    give_up_at = asyncio.get_running_loop().time() + RENEWED_WITHIN_SECONDS
    while older := await (await connection.execute(_OLDER)).fetchall():
        idle = [pid for pid, _, is_idle in older if is_idle]
        await connection.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [idle])
        if asyncio.get_running_loop().time() > give_up_at:
            raise UserError(
                f"A connection of {older[0][1] or 'another program'} has been busy for {RENEWED_WITHIN_SECONDS} seconds, so "
                "nothing was moved: try again when it has finished."
            )
        await asyncio.sleep(POLL_SECONDS)


async def _is_true(connection: psycopg.AsyncConnection, question: LiteralString) -> bool:
    row = await (await connection.execute(question)).fetchone()
    return bool(row and row[0])
