"""Errors of the command line: what went wrong and what to do, in one plain sentence.

The command line prints the sentence and ends with the exit code of the error, without a traceback. ``UserError`` does not
derive from an exception of click, because the stack raises it too and must not depend on click. ``explain`` returns the
sentence for errors that the product or the system raised. It looks up classes by name, because importing them would make
`mpac --help` a second slower.
"""

import errno
from collections.abc import Callable
from typing import Any


class UserError(Exception):
    """A failure whose message is for the person at the keyboard."""

    exit_code = 1


class WrongUsage(UserError):
    """A mistyped name or value; nothing was attempted."""

    exit_code = 2


def explain(error: BaseException) -> str | None:
    """Return what went wrong and what to do, or ``None`` for a bug that needs its traceback."""
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
    return f"{error.filename} can't be used ({error.strerror}): check who owns it, or choose another place."


def _settings(error: Any) -> str | None:
    from workflows.settings import describe_errors  # noqa: PLC0415 - it raised the error, so it is imported already

    return describe_errors(error) if error.title == "Settings" else None


def _schema(error: Any) -> str:
    said = str(error.orig).partition("\n")[0]
    return f"The database refused ({said}). Its schema may be out of date: run `python3 run.py migrate`."


def _database_unavailable(_error: Any) -> str:
    return "The database does not answer: check with `python3 run.py status` whether it is up."


SENTENCES: dict[str, Callable[[Any], str | None]] = {
    "builtins.OSError": _file,
    "pydantic_core._pydantic_core.ValidationError": _settings,
    "workflows.errors.ServiceUnavailable": _database_unavailable,
    "sqlalchemy.exc.OperationalError": _database_unavailable,
    "sqlalchemy.exc.ProgrammingError": _schema,
}
