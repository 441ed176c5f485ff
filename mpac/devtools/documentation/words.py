"""The words of the command line with their one line of help."""

from mpac.cli.commands import HELP
from mpac.devtools.documentation.tables import table


def render_words() -> str:
    """One row per word, in the order of `mpac --help`."""
    return table(("word", "what it does"), [(f"`{word}`", meaning) for word, meaning in HELP.items()])
