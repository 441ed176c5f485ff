"""The first cause in what a program printed: most print what follows from it, or a hint, behind it."""

import re
from collections.abc import Sequence

GRAVE = re.compile(r"\b(FATAL|PANIC|ERROR|error):")
"""What PostgreSQL's programs write before a cause; in a traceback the last line is the cause."""


def first_cause(lines: Sequence[str]) -> str:
    """Return the line that says why a program failed: the first grave one, else the last."""
    said = [line.strip() for line in lines if line.strip()]
    grave = next((line for line in said if GRAVE.search(line)), None)
    return grave or (said[-1] if said else "it printed nothing")
