"""Find the cause of a failure in a program's output: most programs print consequences or a hint after it."""

import re
from collections.abc import Sequence

GRAVE = re.compile(r"\b(FATAL|PANIC|ERROR|error):")
"""Marks the cause in the output of PostgreSQL's programs. In a traceback the last line is the cause."""


def first_cause(lines: Sequence[str]) -> str:
    """Return the line that says why a program failed: the first marked one, else the last."""
    said = [line.strip() for line in lines if line.strip()]
    grave = next((line for line in said if GRAVE.search(line)), None)
    return grave or (said[-1] if said else "it printed nothing")
