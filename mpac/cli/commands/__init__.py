"""The commands: one module each, ``<name>.py`` with a click command of the same name.

``HELP`` gives their order and one line of help each, so that `mpac --help` imports none of them. This module uses the standard
library only, because `run.py` reads the table before anything is installed.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

HELP = {
    "up": "Start everything: database, broker, sandbox provider, API, workers, beat, Flower.",
    "down": "Stop a stack that was started in another terminal or with --detach.",
    "status": "Show which processes run, where, and whether they are ready.",
    "clock": "Show the time of a development stack, or move it forward: a night passes in seconds.",
    "logs": "Show the log lines of the processes; --follow keeps showing new ones.",
    "demo": "Watch thirty terminals pay and three stores close their day, then see the audit.",
    "seed": "Create merchants, stores and activated devices for trying things out.",
    "statement": "Write a provider's statement for a settlement, with known breaks planted.",
    "token": "Issue a user's token for development.",
    "invariants": "Check every rule about money over the whole database, and report what is in doubt.",
    "archive": "Move old months of payments out of the live tables, into files and an archive; --restore.",
    "doctor": "Check this machine and say what to do about each problem.",
    "secrets": "Create the passwords and keys of an installation; --env prints them for compose.",
    "reset": "Stop the stack and delete its data.",
    "test": "Run the linters, the type checker and the whole test suite.",
    "docs": "Render the generated parts of README.md and docs/ from the code.",
    "bench": "Measure payments per second and their cost.",
    "chaos": "Run the long fault tests.",
    "api": "Run one API process.",
    "worker": "Run one worker process.",
    "beat": "Run beat, which sends the periodic tasks.",
    "flower": "Run Flower, which shows workers and tasks.",
    "sandbox": "Run the sandbox provider, which stands in for an acquirer.",
    "migrate": "Bring the database to the newest schema; --new NAME starts the next migration.",
}


def command_names() -> list[str]:
    """Return the commands whose module is in this checkout."""
    folder = Path(__file__).parent
    return [name for name in HELP if (folder / f"{name}.py").exists()]


def load_command(name: str) -> click.Command:
    """Import one command."""
    command: click.Command = getattr(importlib.import_module(f"mpac.cli.commands.{name}"), name)
    return command
