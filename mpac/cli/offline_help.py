"""Print help and correct mistyped commands or options before anything is installed. Standard library only.

`run.py` calls ``answer_offline`` before it installs anything, and `python -m mpac` suggests corrections by the same rules. The
texts and options of the commands are in ``help.json``, which `python3 run.py docs` renders from click.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mpac.cli.commands import HELP

RENDERED = Path(__file__).with_name("help.json")
GENERAL = "mpac"  # the entry of help.json for the command line as a whole
HELP_OPTIONS = ("-h", "--help")
USAGE_ERROR = 2
OTHER_NAMES = {  # command → its names in other tools
    "up": ("start", "run", "serve", "launch", "begin"),
    "down": ("stop", "halt", "kill", "quit", "end"),
    "status": ("ps", "info", "state", "list", "ls"),
    "clock": ("time", "date", "now"),
    "reset": ("clean", "destroy", "delete", "rm"),
    "doctor": ("check", "diagnose", "install", "setup"),
    "logs": ("tail", "output"),
    "test": ("pytest", "ci"),
}
CUTOFF = 0.6


def answer_offline(arguments: Sequence[str]) -> tuple[int, str] | None:
    """Return the exit code and the text for ``arguments``, or ``None`` if the command itself has to run."""
    arguments = with_help_option(arguments)
    if not arguments or arguments[0] in HELP_OPTIONS:
        return 0, "\n".join(
            _load_rendered_help().get(GENERAL, {}).get("help") or [f"{word:<11} {HELP[word]}" for word in HELP]
        )
    command = arguments[0]
    if command.startswith("-"):
        return USAGE_ERROR, misplaced_option_message(arguments)
    if command not in HELP:
        return USAGE_ERROR, unknown_name_message("command", command, HELP)
    known = _load_rendered_help().get(command)
    if known is None:
        return None
    before_dashes = arguments[1 : arguments.index("--")] if "--" in arguments else arguments[1:]
    if any(word in known["help_options"] for word in before_dashes):
        return 0, "\n".join(known["help"])
    wrong = None if known["passes_on"] else _wrong_option_message(before_dashes, known["options"])
    return None if wrong is None else (USAGE_ERROR, wrong)


def with_help_option(arguments: Sequence[str]) -> list[str]:
    """Rewrite ``help``, ``help COMMAND`` and an empty command line as ``--help`` or ``COMMAND --help``."""
    if not arguments:
        return ["--help"]
    if arguments[0] == "help":
        return [*arguments[1:2], "--help"]
    return list(arguments)


def unknown_name_message(kind: str, typed: str, known: Iterable[str]) -> str:
    """Return a message for a name that does not exist, with the closest match and all names that exist."""
    names = list(known)
    near = closest_match(typed, names)
    guess = f" Did you mean `{near}`?" if near else ""
    return f"No such {kind} {typed!r}.{guess} Choose from: {', '.join(names)}."


def closest_match(typed: str, known: Iterable[str]) -> str | None:
    """Return the name in ``known`` that was probably meant by ``typed``, or ``None``."""
    names = {name.lower(): name for name in known}
    typed = typed.lower()
    for name, others in OTHER_NAMES.items():
        if typed in others and name in names:
            return names[name]
    for name, exact in names.items():
        if sorted(name) == sorted(typed) or (len(typed) > 1 and name.startswith(typed)):
            return exact
    found = difflib.get_close_matches(typed, names, n=1, cutoff=CUTOFF)
    return names[found[0]] if found else None


def misplaced_option_message(arguments: Sequence[str]) -> str:
    """Return a message about options that precede the command, with the order that works."""
    command = next((word for word in arguments if word in HELP), None)
    if command is None:
        return f"The command must come first, and {arguments[0]!r} is an option. Choose from: {', '.join(HELP)}."
    place = arguments.index(command)
    ordered = " ".join([command, *arguments[:place], *arguments[place + 1 :]])
    return f"Options must follow the command: `{ordered}`."


def _load_rendered_help() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(RENDERED.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # an incomplete checkout still answers with the table
        return {}
    return found


def _wrong_option_message(arguments: Sequence[str], options: dict[str, Any]) -> str | None:
    """Return a message about the first mistyped long option or value, or ``None`` if there is none.

    ``options`` says for each option whether a value follows, or lists the possible values.
    """
    following = iter(arguments)
    for word in following:
        name, has_value, value = word.partition("=")
        if not word.startswith("--"):
            continue
        if name not in options:
            near = closest_match(name, options)
            return f"No such option {name!r}." + (f" Did you mean `{near}`?" if near else "")
        if options[name] and not has_value:
            value = next(following, "")
        if isinstance(options[name], list) and value not in options[name]:
            return unknown_name_message(f"value of {name}", value, options[name])
    return None
