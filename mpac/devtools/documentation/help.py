"""Render the help of every command, which `run.py` prints before anything is installed."""

import json
from copy import copy
from typing import Any

import click

from mpac.cli.commands import HELP, load_command
from mpac.cli.offline_help import GENERAL

WIDTH = 100


def render_help() -> str:
    """Return the content of ``help.json``.

    For each command it has the help text, the options, and whether unknown options are passed on.
    """
    from mpac.__main__ import PROGRAM, mpac  # noqa: PLC0415 - it imports the command that calls this

    entries = {GENERAL: _entry(mpac, None, name=PROGRAM)}
    with mpac.make_context(PROGRAM, [], resilient_parsing=True) as parent:
        entries |= {name: _entry(load_command(name), parent, name=name) for name in HELP}
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def _entry(command: click.Command, parent: click.Context | None, *, name: str) -> dict[str, Any]:
    command = copy(command)
    command._help_option = None  # click stores the one of the first context in which a command is used
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    with click.Context(command, info_name=name, parent=parent, **settings) as context:
        named = [option for option in command.get_params(context) if isinstance(option, click.Option)]
        return {
            "help": command.get_help(
                context
            ).splitlines(),  # one string per line, so that two changes of the file can be merged
            "help_options": context.help_option_names,
            "passes_on": context.ignore_unknown_options,
            "options": {name: _value(option) for option in named for name in option.opts if name.startswith("--")},
        }


def _value(option: click.Option) -> list[str] | bool:
    """Return the choices of an option that has choices, otherwise whether the option takes a value."""
    return list(option.type.choices) if isinstance(option.type, click.Choice) else not option.is_flag
