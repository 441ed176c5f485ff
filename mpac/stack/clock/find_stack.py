"""Find the stack whose clock may be moved: a running one whose servers were started by `up`."""

import os
from collections.abc import Mapping
from pathlib import Path

from mpac.cli.errors import UserError
from mpac.stack.database_profile import SERVERS_OF_THE_USERS
from mpac.stack.run_file import RunInfo, read_run, unreadable_message
from mpac.stack.state_folder import Home, command

NEEDED = {"postgres": "database", "valkey": "broker", "sandbox": "provider"}


def find_own_stack(home: Path, environment: Mapping[str, str] = os.environ) -> RunInfo:
    """Return run.json of the stack.

    Raises ``UserError`` unless the stack's own database, broker and provider are running.
    """
    folder = Home(home.absolute())
    named = next((name for name in SERVERS_OF_THE_USERS if environment.get(name)), None)
    if named:
        raise UserError(f"{named} is set, and only the clock of servers that `up` started is moved: unset it.")
    if environment.get("MPAC_ENVIRONMENT", "development") != "development":
        raise UserError(
            f"MPAC_ENVIRONMENT is {environment['MPAC_ENVIRONMENT']}: only a development stack's clock is moved."
        )
    info = read_run(folder)
    if info is None:
        none = f"No stack is running in {folder.path}: start one with `{command('up', folder.path)}`."
        raise UserError(unreadable_message(folder) or none)
    for part, name in NEEDED.items():
        if part not in info["names"]:
            raise UserError(
                f"The {name} of this stack was not started by `up`, so its clock is not moved: "
                f"start the whole stack with `{command('up', folder.path)}`."
            )
        if part not in info["ready"]:
            raise UserError(f"The {name} of this stack is not ready: check it with `{command('status', folder.path)}`.")
    return info
