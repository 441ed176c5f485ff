"""What went wrong, in one plain sentence that says what to do.

The command line prints it and ends with its exit code; no traceback. It is a class of its own so that the stack, which
knows nothing of click, and the command line, which does, can share it.
"""


class Trouble(Exception):
    """A failure whose message is meant for the person at the keyboard."""

    exit_code = 1


class WrongUsage(Trouble):
    """A mistyped name or value: nothing was attempted."""

    exit_code = 2
