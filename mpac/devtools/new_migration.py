"""Create the next migration file from the template ``migrations/script.py.mako``."""

import re
from argparse import Namespace
from pathlib import Path

from alembic import command
from alembic.config import Config

from mpac.cli.errors import UserError, WrongUsage
from mpac.stack.schema import newest_revisions
from mpac.stack.state_folder import ROOT

MIGRATIONS = ROOT / "migrations"
NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
LONGEST_NAME = 40  # alembic cuts a longer one, and two files could get the same name


def new_migration(name: str, *, migrations: Path = MIGRATIONS) -> Path:
    """Write the file that follows the newest revision and return its path; no database is needed.

    Raises ``WrongUsage`` for a name that is not snake_case, and ``UserError`` if a migration has that name already or two
    revisions claim to be the newest.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise WrongUsage(
            f"{name!r} is not a name for a migration: use at most {LONGEST_NAME} lower-case letters, digits and single "
            "underscores, for example add_tip_limit."
        )
    files = sorted((migrations / "versions").glob("*.py"))
    same = next((file for file in files if file.stem.partition("_")[2] == name), None)
    if same:
        raise UserError(f"{same.name} has this name already: choose another one.")
    newest = sorted(newest_revisions(file.read_text(encoding="utf-8") for file in files))
    if len(newest) != 1:
        raise UserError(
            f"There must be exactly one newest migration, not {len(newest)} ({', '.join(newest)}): merge them."
        )
    revision = f"{int(newest[0]) + 1:04}"
    command.revision(_config(migrations), message=name.replace("_", " "), rev_id=revision)
    return migrations / "versions" / f"{revision}_{name}.py"


def _config(migrations: Path) -> Config:
    config = Config(cmd_opts=Namespace(quiet=True))  # `mpac migrate` prints its own line
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))  # ConfigParser interpolates
    return config
