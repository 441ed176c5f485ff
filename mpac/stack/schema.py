"""Whether the database has the newest schema already, asked of the database itself.

``alembic upgrade head`` takes nearly two seconds to find that there is nothing to do, a third of a whole start; psql
and a look at the files take 20 ms. In any doubt the answer is no, and alembic decides.
"""

import asyncio
import os
import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit, urlunsplit

from mpac.stack.home import ROOT
from mpac.stack.wheels import postgres_folders
from mpac.trouble import Trouble

VERSIONS = ROOT / "migrations" / "versions"
ASK = "SELECT string_agg(version_num, ',') FROM alembic_version"
ASSIGNMENT = re.compile(r'^(revision|down_revision)\b[^=\n]*=\s*["\'](\w+)["\']', re.MULTILINE)
ANSWER_WITHIN_SECONDS = 5


async def schema_is_current(database_url: str) -> bool:
    """Whether the one newest revision of migrations/ is the one in the database."""
    newest = newest_revisions(file.read_text() for file in VERSIONS.glob("*.py"))
    return len(newest) == 1 and newest == {await _revision_in(database_url)}


def newest_revisions(sources: Iterable[str]) -> set[str]:
    """The revisions that no other follows."""
    found = [ASSIGNMENT.findall(source) for source in sources]
    stated = [pair for pairs in found for pair in pairs]
    revisions = {value for name, value in stated if name == "revision"}
    return revisions - {value for name, value in stated if name == "down_revision"}


async def _revision_in(database_url: str) -> str:
    try:
        psql = _psql()
    except Trouble:  # a server of the user's own, and no PostgreSQL here
        return ""
    url = urlsplit(database_url)
    without_password = urlunsplit(url._replace(netloc=re.sub(r":[^@/]*@", "@", url.netloc)))
    process = await asyncio.create_subprocess_exec(
        *(psql, "--no-psqlrc", "--tuples-only", "--no-align", "--command", ASK, without_password),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PGPASSWORD": unquote(url.password or "")},  # a command can be read by every user
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), ANSWER_WITHIN_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return said.decode().strip()


def _psql() -> str:
    psql = next((folder / "psql" for folder in postgres_folders() if (folder / "psql").exists()), None)
    if psql is None:
        raise Trouble("There is no psql here.")
    return str(psql)
