"""Exit codes of commands that can end in more than two ways, so that a script can tell them apart.

1, the usual code of a failure, means that a rule is broken. So a script that knows no other code assumes the worst.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from mpac.cli.errors import UserError, WrongUsage, explain

HOLDS = 0
BROKEN = 1
# 2 is click's: the command was called wrongly
UNSURE = 3  # no rule is broken, but something is not known or not finished
NOT_CHECKED = 4  # the command could not do its work: the database is down, no stack is up …
NOT_PROVEN = 5  # a rule that the demonstration must exercise had nothing to check
BUG = 70  # a failure of the program itself, with its traceback (sysexits.h: EX_SOFTWARE)


class UserErrorWithCode(UserError):
    """A user error with an exit code that the command chose."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


@contextmanager
def user_errors_exit_with(exit_code: int) -> Iterator[None]:
    """Give every error that can be explained, except wrong usage, the exit code ``exit_code``.

    Raises ``UserError``.
    """
    try:
        yield
    except WrongUsage:
        raise
    except UserError as error:
        raise UserErrorWithCode(str(error), exit_code) from error
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        raise UserErrorWithCode(sentence, exit_code) from error
