"""A rule about money: a sentence for people and the queries that check it.

Queries spell out transitions, amounts and limits instead of deriving them from the product's code, because an auditor that
used the product's definitions would repeat every mistake in them.
"""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection


def with_article(entity: str) -> str:
    """Return ``entity`` with its article ("a payment", "an order"), for names and sentences."""
    return f"{'an' if entity[0] in 'aeiou' else 'a'} {entity}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, and the queries that check it.

    ``violations`` selects ``id`` and ``problem`` of every row that breaks the rule, and may use ``:review_after_seconds``.
    ``checked`` counts the rows that the rule examines.
    """

    invariant: str
    name: str
    sentence: str
    checked: str
    violations: str

    async def query(self, connection: AsyncConnection) -> str:  # noqa: ARG002 - a rule over all tables reads the catalogue
        """Return the query that selects the violations in this database."""
        return self.violations


@dataclass(frozen=True, slots=True)
class Violation:
    """An entity that breaks a rule, and what is wrong with it."""

    id: str
    problem: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of checking a rule.

    ``checked`` is the number of examined rows, ``count`` the number of violations, and ``violations`` the first of them.
    """

    rule: Rule
    checked: int
    count: int
    violations: tuple[Violation, ...]
