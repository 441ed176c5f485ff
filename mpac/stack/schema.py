"""Check whether the database already has the newest schema.

``alembic upgrade head`` takes nearly two seconds to find that there is nothing to do, a third of a whole start; psql and a
look at the files take 20 ms. In any doubt the check returns False, and alembic decides.
"""

import re
from collections.abc import Iterable

from mpac.cli.errors import UserError
from mpac.stack.psql import run_psql
from mpac.stack.state_folder import ROOT

VERSIONS = ROOT / "migrations" / "versions"
# In two steps: a new database has no such table, and its log should not start with an error.
QUERY = r"""SELECT to_regclass('alembic_version') IS NOT NULL AS is_there \gset
\if :is_there
SELECT string_agg(version_num, ',') FROM alembic_version;
\endif
"""
ASSIGNMENT = re.compile(r'^(revision|down_revision)\b[^=\n]*=\s*["\'](\w+)["\']', re.MULTILINE)


async def schema_is_current(database_url: str) -> bool:
    """Return whether the single newest revision of migrations/ is the one in the database."""
    newest = newest_revisions(file.read_text() for file in VERSIONS.glob("*.py"))
    return len(newest) == 1 and newest == {await _revision_in(database_url)}


def newest_revisions(sources: Iterable[str]) -> set[str]:
    """Return the revisions that no other revision follows."""
    found = [ASSIGNMENT.findall(source) for source in sources]
    stated = [pair for pairs in found for pair in pairs]
    revisions = {value for name, value in stated if name == "revision"}
    return revisions - {value for name, value in stated if name == "down_revision"}


async def _revision_in(database_url: str) -> str:
    try:
        return await run_psql(database_url, QUERY)
    except UserError:  # no schema yet, or a server of the user's own and no psql here
        return ""
