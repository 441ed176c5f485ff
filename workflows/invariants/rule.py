"""A rule about money: a sentence for people and a query for the database.

Queries spell out transitions, amounts and limits instead of deriving them from the product's own tables: an auditor that used
the product's definitions would repeat every mistake in them.
"""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection


def with_article(entity: str) -> str:
    """Return ``entity`` with its article, for names and sentences: "a payment", "an order"."""
    return f"{'an' if entity[0] in 'aeiou' else 'a'} {entity}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule and its queries.

    ``violations`` selects ``id`` and ``problem`` of every row that breaks the rule, and may use ``:review_after_seconds``.
    ``checked`` counts the rows that the rule examines.
    """

    invariant: str
    name: str
    sentence: str
    checked: str
    violations: str

    async def query(self, connection: AsyncConnection) -> str:  # noqa: ARG002 - a rule over all tables reads the catalogue
        """Return the query of violations for this database."""
        return self.violations


@dataclass(frozen=True, slots=True)
class Violation:
    """An entity that breaks a rule, and what is wrong with it."""

    id: str
    problem: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a rule: ``count`` is the number of violations, ``violations`` are the first of them."""

    rule: Rule
    checked: int
    count: int
    violations: tuple[Violation, ...]
