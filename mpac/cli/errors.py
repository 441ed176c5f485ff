"""Errors of the command line: what went wrong and what to do, in one plain sentence.

The command line prints the sentence and ends with the exit code of the error, without a traceback. ``UserError`` is a class
of its own so that the stack, which does not know click, and the command line, which does, can share it. ``explain`` finds
the sentence for errors that the product or the system raised: it looks classes up by name, because importing them would
cost `mpac --help` a second.
"""

import errno
from collections.abc import Callable
from typing import Any


class UserError(Exception):
    """A failure whose message is meant for the person at the keyboard."""

    exit_code = 1


class WrongUsage(UserError):
    """A mistyped name or value: nothing was attempted."""

    exit_code = 2


def explain(error: BaseException) -> str | None:
    """What went wrong and what to do, for what a user can do something about; ``None`` for a bug of ours."""
    for kind in type(error).__mro__:
        sentence = SENTENCES.get(f"{kind.__module__}.{kind.__name__}")
        if sentence:
            return sentence(error)
    return None


def _file(error: Any) -> str | None:
    if error.errno == errno.ENOSPC:
        return "The disk is full: make room and start again."
    if not error.filename:
        return None
    return f"{error.filename} can't be used ({error.strerror}): look at who owns it, or name another place."


def _settings(error: Any) -> str | None:
    from workflows.settings import what_is_wrong  # noqa: PLC0415 - it raised this, so it is imported already

    return what_is_wrong(error) if error.title == "Settings" else None


def _schema(error: Any) -> str:
    said = str(error.orig).partition("\n")[0]
    return f"The database refused ({said}): is it at the newest schema? `python3 run.py migrate` sees to it."


def _away(_error: Any) -> str:
    return "The database does not answer: is it up? `python3 run.py status` tells."


SENTENCES: dict[str, Callable[[Any], str | None]] = {
    "builtins.OSError": _file,
    "pydantic_core._pydantic_core.ValidationError": _settings,
    "workflows.errors.ServiceUnavailable": _away,
    "sqlalchemy.exc.OperationalError": _away,
    "sqlalchemy.exc.ProgrammingError": _schema,
}
