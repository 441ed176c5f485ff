"""A database whose clock can be moved, without one line of the product knowing.

The product takes every due time, period and date from ``now()`` and ``clock_timestamp()`` of its database. A database of this
realm has functions of these names before PostgreSQL's own (``search_path``), which add how far ahead the clock was moved. So
it ticks on: leases run out, sweeps find what is due, and a day ends where it would have ended. It is only ever moved forward,
and by whoever knows that nothing is under way.

``public`` stands first in the path, so that the migrations make their tables there and not beside these functions.
"""

from mpac.stack.psql import ask_psql

SCHEMA = "movable_clock"
PREPARE = f"""
SELECT 'CREATE DATABASE "' || :'name' || '"' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec
\\connect :name
SELECT to_regnamespace('{SCHEMA}') IS NULL AS is_new \\gset
\\if :is_new
BEGIN;
CREATE SCHEMA {SCHEMA};
CREATE TABLE {SCHEMA}.moved (
    id boolean PRIMARY KEY DEFAULT true CHECK (id), -- one row
    ahead interval NOT NULL CHECK (ahead >= '0')
);
INSERT INTO {SCHEMA}.moved (ahead) VALUES ('0');
CREATE FUNCTION {SCHEMA}.now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
    AS 'SELECT pg_catalog.now() + ahead FROM {SCHEMA}.moved';
CREATE FUNCTION {SCHEMA}.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
    AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM {SCHEMA}.moved';
GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC;
GRANT SELECT ON {SCHEMA}.moved TO PUBLIC;
ALTER DATABASE :"name" SET search_path = public, {SCHEMA}, pg_catalog;
COMMIT;
\\endif
"""
READ = f"SELECT extract(epoch FROM ahead)::bigint FROM {SCHEMA}.moved;"
MOVE = f"UPDATE {SCHEMA}.moved SET ahead = make_interval(secs => %s) WHERE ahead <= make_interval(secs => %s)"
"""Moves nothing where the clock is farther ahead already."""


async def prepare_movable_clock(database_url: str, *, name: str) -> int:
    """Make the database ``name`` with a clock of its own if there is none; how many seconds ahead its clock is.

    ``database_url`` is any database of the server. Raises ``Trouble``.
    """
    return int(await ask_psql(database_url, f"\\set name {name}\n{PREPARE}{READ}\n"))
