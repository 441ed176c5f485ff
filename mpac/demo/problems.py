"""What the chapters report besides their story.

| kind   | means                                                            | says something about money |
|--------|------------------------------------------------------------------|----------------------------|
| BROKEN | something is as the product promises that it never is            | yes: the promise is broken |
| LATE   | something did not finish in its time, as on a machine that is busy | no                         |
| FAILED | an answer or an error on which the story cannot go on            | no                         |
"""

from dataclasses import dataclass
from enum import StrEnum


class ProblemKind(StrEnum):
    """What a problem says about the product."""

    BROKEN = "broken"
    LATE = "late"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem as a sentence. ``counted`` is the noun under which the summary counts late ones."""

    kind: ProblemKind
    sentence: str
    counted: str = ""


class UnexpectedAnswer(Exception):
    """An answer on which the story cannot go on. The message is a sentence."""


def broken(sentence: str) -> Problem:
    """Return a broken promise."""
    return Problem(ProblemKind.BROKEN, sentence)


def late(sentence: str, *, counted: str) -> Problem:
    """Return something that did not finish in its time."""
    return Problem(ProblemKind.LATE, sentence, counted)


def failed(sentence: str) -> Problem:
    """Return a failure of the demonstration or an answer that nobody expected."""
    return Problem(ProblemKind.FAILED, sentence)
