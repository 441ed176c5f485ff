"""A rule about money: a sentence for people and a query for the database.

Edges, amounts and bounds are spelled out in the queries instead of being taken from the tables the product runs on: a
judge that reads the defendant's own book would agree with every mistake in it.
"""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection


def one(entity: str) -> str:
    """``entity`` with its article, for names and sentences: "a payment", "an order"."""
    return f"{'an' if entity[0] in 'aeiou' else 'a'} {entity}"


@dataclass(frozen=True, slots=True)
class Rule:
    """``violations`` selects ``id`` and ``problem`` of every row that breaks it; ``checked`` counts the rows it judged.

    ``violations`` may use ``:review_after_seconds``.
    """

    invariant: str
    name: str
    sentence: str
    checked: str
    violations: str

    async def query(self, connection: AsyncConnection) -> str:  # noqa: ARG002 - a rule over all tables has to look first
        """The query to run on this database."""
        return self.violations


@dataclass(frozen=True, slots=True)
class Violation:
    """What breaks a rule: the entity and what is wrong with it."""

    id: str
    problem: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule and what came of it. ``violations`` are the first ones, ``count`` is how many there are."""

    rule: Rule
    checked: int
    count: int
    violations: tuple[Violation, ...]
