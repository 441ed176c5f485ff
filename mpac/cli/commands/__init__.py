"""The words of the command line: one file each, ``<word>.py`` with a click command of the same name.

The table below gives their order and their one line of help, so that `mpac --help` imports none of them. This module uses
the standard library only: `run.py` reads the table before anything is installed.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

HELP = {
    "up": "Start everything: database, broker, sandbox provider, API, workers, beat, Flower.",
    "down": "Stop a stack that was started elsewhere or with --detach.",
    "status": "Show what runs, where, and whether it is ready.",
    "clock": "Show the time of a development stack, or move it: a night in seconds.",
    "logs": "Show what the processes have written; --follow goes on showing it.",
    "demo": "Thirty terminals pay, three stores close their day, nothing is lost: watch it and see the proof.",
    "seed": "Make merchants, stores and activated devices to play with.",
    "statement": "Write a provider's statement for a settlement, with known breaks planted.",
    "token": "Issue a user's token for development.",
    "invariants": "Check every rule about money over the whole database, and tell what is in doubt.",
    "doctor": "Check this machine and say what to do about each finding.",
    "secrets": "Make the passwords and keys of an installation; --env prints them for compose.",
    "reset": "Stop the stack and delete its data.",
    "test": "Run the linters, the type checker and the whole test suite.",
    "docs": "Render the generated parts of README.md and docs/ from the code.",
    "bench": "Measure payments per second and their cost.",
    "chaos": "Run the long fault tests.",
    "api": "Run one API process.",
    "worker": "Run one worker process.",
    "beat": "Run the timetable.",
    "flower": "Run the window on workers and tasks.",
    "sandbox": "Run the stand-in provider.",
    "migrate": "Bring the database to the newest schema; --new NAME starts the next migration.",
}


def command_names() -> list[str]:
    """The words whose file is in this checkout."""
    folder = Path(__file__).parent
    return [word for word in HELP if (folder / f"{word}.py").exists()]


def load_command(word: str) -> click.Command:
    """Import one word's command."""
    command: click.Command = getattr(importlib.import_module(f"mpac.cli.commands.{word}"), word)
    return command
