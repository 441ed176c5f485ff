"""The problems that chapters report.

| kind   | means                                                                | concerns money             |
|--------|----------------------------------------------------------------------|----------------------------|
| BROKEN | something happened that the product promises never happens           | yes: the promise is broken |
| LATE   | something did not finish in time, as on a busy machine               | no                         |
| FAILED | an answer or an error after which the story can't continue           | no                         |
"""

from dataclasses import dataclass
from enum import StrEnum


class ProblemKind(StrEnum):
    """The kind of a problem; the table above says what each means for the product."""

    BROKEN = "broken"
    LATE = "late"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem as a sentence. ``counted`` is the noun under which the summary counts problems of the kind ``LATE``."""

    kind: ProblemKind
    sentence: str
    counted: str = ""


class UnexpectedAnswer(Exception):
    """An answer after which the story can't continue. The message is a sentence."""


def broken_promise(sentence: str) -> Problem:
    """Return a ``BROKEN`` problem: the product broke a promise."""
    return Problem(ProblemKind.BROKEN, sentence)


def lateness(sentence: str, *, counted: str) -> Problem:
    """Return a ``LATE`` problem: something did not finish in time."""
    return Problem(ProblemKind.LATE, sentence, counted)


def demo_failure(sentence: str) -> Problem:
    """Return a ``FAILED`` problem: the demonstration failed, or got an answer that it did not expect."""
    return Problem(ProblemKind.FAILED, sentence)
