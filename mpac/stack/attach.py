"""Attach a single process to a running local stack: `mpac worker` beside `mpac up`, `mpac token`, a script.

In a container no local stack is running and every variable is set already, so nothing is added.
"""

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from mpac.cli.errors import UserError
from mpac.stack.environment import CONTROL_KEY_VARIABLE, RATE_LIMITS_OFF, Urls, product_environment, with_users_own
from mpac.stack.run_file import read_run, unreadable_message
from mpac.stack.secrets import load_secrets
from mpac.stack.state_folder import ROOT, Home, command, suggest_home


def attached_environment(home: Path, *, needs: Collection[str] = ()) -> dict[str, str]:
    """Return the ``MPAC_*`` variables of the stack running in ``home``, if any.

    The user's own variables override those of the stack. Raises ``UserError`` if a variable in ``needs`` is set by
    neither.
    """
    folder = Home(home.absolute())
    info = read_run(folder)
    ours: dict[str, str] = {}
    if info is not None:
        urls = Urls(**{field.name: info[f"{field.name}_url"] for field in fields(Urls)})
        ours = {**product_environment(folder, urls, load_secrets(folder)), **RATE_LIMITS_OFF}
    found = with_users_own(ours)
    missing = [name for name in needs if not found.get(name)]
    if missing and info is None and unreadable_message(folder):
        raise UserError(unreadable_message(folder))
    if missing:
        raise UserError(
            f"{missing[0]} is not set and no local stack is up in {folder.path}: "
            f"set it, or start a stack with `{command('up', folder.path)}`.{suggest_home(folder.path)}"
        )
    return found


def attach(home: Path, *, needs: Collection[str] = ()) -> None:
    """Put the variables of ``attached_environment`` into this process's environment.

    Commands that import the product need the variables there. The control key of the sandbox is added, which no process
    of the product gets.
    """
    os.environ.update(attached_environment(home, needs=needs))
    info = read_run(Home(home.absolute())) or {}
    os.environ.setdefault(CONTROL_KEY_VARIABLE, info.get("sandbox_control_key", ""))


def exec_command(command: Sequence[str], environment: Mapping[str, str], *, source: str) -> NoReturn:
    """Replace this process by ``command``, which keeps the pid and gets the signals.

    Raises ``UserError`` if ``source``, a file that the command needs, is missing.
    """
    if not (ROOT / source).exists():
        raise UserError(f"The command can't be started: {source} is not in this checkout.")
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execve(command[0], list(command), {**os.environ, "PYTHONUNBUFFERED": "1", **environment})  # noqa: S606 - no shell
