"""Check the invariants: run every rule, read-only, in one snapshot of the database.

The check runs as the owner of the tables with ``row_security = off``: a role that could see only some of the rows gets an
error instead of a wrong result. The rows that the rules examine are counted in the same snapshot, because a rule that had no
rows to examine proves nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import Role, transaction
from workflows.invariants.rule import Finding, Rule, Violation
from workflows.invariants.rules import RULES

MAX_LISTED = 20
"""The number of violations per rule that are listed; the others are only counted."""

REVIEW_AFTER_SECONDS = 86_400
"""The time after which a person must review a payment whose outcome is unknown (behaviour §5)."""

_ONE_SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
_SEE_ALL = text("SET LOCAL row_security = off")
_TIMEOUT = text("SET LOCAL statement_timeout = '10min'")  # a rule reads whole tables; the usual limit is for requests


@dataclass(frozen=True, slots=True)
class Audit:
    """The findings of every rule, and the number of examined rows by kind."""

    findings: list[Finding]
    examined: dict[str, int]


async def audit_database(*, review_after_seconds: float = REVIEW_AFTER_SECONDS) -> Audit:
    """Check every rule on the whole database.

    Raises ``ServiceUnavailable`` if the database is unreachable.
    """
    async with transaction(Role.OWNER) as connection:
        for preparation in (_ONE_SNAPSHOT, _SEE_ALL, _TIMEOUT):
            await connection.execute(preparation)
        findings = await check(connection, RULES, review_after_seconds=review_after_seconds)
        return Audit(findings, await count_rows(connection))


async def check(
    connection: AsyncConnection, rules: Iterable[Rule], *, review_after_seconds: float = REVIEW_AFTER_SECONDS
) -> list[Finding]:
    """Return the findings of ``rules`` on ``connection``, including its uncommitted changes."""
    return [await _run(connection, rule, review_after_seconds) for rule in rules]


async def _run(connection: AsyncConnection, rule: Rule, review_after_seconds: float) -> Finding:
    # The parameter is bound only if the query uses it: PostgreSQL refuses a parameter whose type it cannot infer.
    values = {"review_after_seconds": review_after_seconds}
    query = await rule.query(connection)
    listed = f"SELECT count(*) OVER () AS total, v.id, v.problem FROM ({query}) AS v ORDER BY 2, 3 LIMIT {MAX_LISTED}"
    rows = (await connection.execute(text(listed), values if ":review_after_seconds" in query else {})).all()
    checked = (await connection.execute(text(rule.checked))).scalar_one()
    return Finding(rule, checked, rows[0].total if rows else 0, tuple(Violation(row.id, row.problem) for row in rows))


COUNTED = {
    "payments": "payments",
    "refunds": "refunds",
    "orders": "orders",
    "bills": "bills",
    "settlements": "settlements",
    "journal entries": "ledger_entries",
    "ledger accounts": "ledger_accounts",
}
"""The kinds of rows that are counted: the name in reports → the table."""

_COUNT = text("SELECT " + ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in COUNTED.values()))


async def count_rows(connection: AsyncConnection) -> dict[str, int]:
    """Return the number of rows of each kind in ``COUNTED``."""
    row = (await connection.execute(_COUNT)).one()
    return dict(zip(COUNTED, row, strict=True))
