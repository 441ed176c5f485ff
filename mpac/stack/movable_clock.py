"""A database whose clock can be moved without any change to the product.

The product takes every due time, period and date from ``now()`` and ``clock_timestamp()`` of its database. A database with the
schema below has functions of these names before PostgreSQL's own (``search_path``), which add how far the clock was moved
ahead. So the clock keeps ticking: leases expire, sweeps find what is due, and a day ends when it would have ended. It is only
ever moved forward.

| database | gets the schema |
|---|---|
| the demonstration's | when it is created, before the migrations |
| an ordinary stack's | from the first `mpac clock` that moves it (``mpac.stack.clock.install``) |

``public`` is first in the path, so that the migrations create their tables there and not beside these functions.
"""

from dataclasses import dataclass

from mpac.stack.psql import run_psql

SCHEMA = "movable_clock"
PATH = f"public, {SCHEMA}, pg_catalog"
CREATE = f"""
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE TABLE IF NOT EXISTS {SCHEMA}.moved (
    id boolean PRIMARY KEY DEFAULT true CHECK (id), -- one row
    ahead interval NOT NULL CHECK (ahead >= '0')
);
ALTER TABLE {SCHEMA}.moved
    ADD COLUMN IF NOT EXISTS intended interval, -- a move to this value has begun: the provider may have moved already
    ADD COLUMN IF NOT EXISTS usable_since timestamptz; -- older connections do not use these functions
INSERT INTO {SCHEMA}.moved (ahead) VALUES ('0') ON CONFLICT DO NOTHING;
CREATE OR REPLACE FUNCTION {SCHEMA}.now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
    AS 'SELECT pg_catalog.now() + ahead FROM {SCHEMA}.moved';
CREATE OR REPLACE FUNCTION {SCHEMA}.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
    AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM {SCHEMA}.moved';
GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC;
GRANT SELECT ON {SCHEMA}.moved TO PUBLIC;
"""
PREPARE = f"""
SELECT 'CREATE DATABASE "' || :'name' || '"' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec
\\connect :name
SELECT to_regnamespace('{SCHEMA}') IS NULL AS is_new \\gset
\\if :is_new
BEGIN;
{CREATE}
UPDATE {SCHEMA}.moved SET usable_since = '-infinity';
ALTER DATABASE :"name" SET search_path = {PATH};
COMMIT;
\\endif
"""
READ = f"SELECT extract(epoch FROM ahead)::bigint FROM {SCHEMA}.moved;"
MOVE = f"UPDATE {SCHEMA}.moved SET ahead = make_interval(secs => %s) WHERE ahead <= make_interval(secs => %s)"
"""Changes nothing if the clock is farther ahead already."""

# The column may be missing in a database of an older checkout, and the schema in one whose clock was never moved.
READ_STATE = f"""
SELECT to_regclass('{SCHEMA}.moved') IS NOT NULL AS is_movable \\gset
\\if :is_movable
SELECT extract(epoch FROM ahead)::bigint || ' ' || coalesce(to_jsonb(m) ->> 'intended', '') FROM {SCHEMA}.moved m;
\\endif
"""


@dataclass(frozen=True, slots=True)
class ClockState:
    """The state of a database's clock: how far ahead it is, and whether a move was interrupted."""

    ahead_seconds: int = 0
    is_half_moved: bool = False


async def prepare_movable_clock(database_url: str, *, name: str) -> int:
    """Create the database ``name`` with a movable clock if it is missing.

    Return how many seconds the clock of the database is ahead. ``database_url`` is any database of the server. Raises
    ``UserError``.
    """
    return int(await run_psql(database_url, f"\\set name {name}\n{PREPARE}{READ}\n"))


async def read_clock(database_url: str) -> ClockState:
    """Return how far ahead the clock of a database is; zero if it was never moved. Raises ``UserError``."""
    ahead, _, intended = (await run_psql(database_url, READ_STATE)).partition(" ")
    return ClockState(int(ahead or 0), bool(intended))
