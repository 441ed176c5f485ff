"""Check the invariants on a schedule without slowing down payments, and store the findings of each rule.

| scope                | limit                                                                                         |
|----------------------|-----------------------------------------------------------------------------------------------|
| one rule             | ``RULE_SECONDS`` and its own transaction, because a long snapshot prevents vacuum of dead rows |
| all rules            | ``ALL_SECONDS``, one after the other, without parallel workers: at most one CPU               |
| the installation     | one check at a time: the process that claims the row of ``invariant_runs`` runs it            |

A rule that exceeds its limit retains its last result and is marked as not finished. On a large database, therefore, only
`mpac invariants`, which has no such limits, is a full check. Rules that were not reached come first the next time.
"""

import logging
import time
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base, Role, rows_parameter, transaction
from workflows.database.mixins import INSTANT
from workflows.errors import ServiceUnavailable
from workflows.invariants.check import check
from workflows.invariants.rule import Finding, Rule
from workflows.invariants.rules import RULES

logger = logging.getLogger(__name__)

RULE_SECONDS, ALL_SECONDS = 15, 60.0

_READ_ONLY = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
_LIMITS = (
    text("SET LOCAL row_security = off"),
    text(f"SET LOCAL statement_timeout = '{RULE_SECONDS}s'"),
    text("SET LOCAL max_parallel_workers_per_gather = 0"),
)
_CLAIM = text("""
    -- claim: at most one check per period. The time may be in the future, if the clock was set back.
    INSERT INTO invariant_runs AS r (name, began_at) VALUES ('scheduled', now())
    ON CONFLICT (name) DO UPDATE SET began_at = excluded.began_at
    WHERE abs(extract(epoch FROM now() - r.began_at)) >= :period
    RETURNING xmax::text <> '0'  -- whether the row existed: a new installation is not checked in its first seconds
""")
_TRIED = text("SELECT rule, tried_at FROM invariant_results")
_FORGET = text("DELETE FROM invariant_results WHERE NOT rule = ANY(:rules)")
_STORE = text("""
    INSERT INTO invariant_results AS r
        (rule, invariant, sentence, tried_at, is_finished, finished_at, seconds, checked, violations, examples)
    VALUES (:rule, :invariant, :sentence, now(), :is_finished, CASE WHEN :is_finished THEN now() END, :seconds, :checked,
            :violations, CAST(:examples AS jsonb))
    ON CONFLICT (rule) DO UPDATE SET
        invariant = excluded.invariant, sentence = excluded.sentence, tried_at = excluded.tried_at,
        is_finished = excluded.is_finished, seconds = excluded.seconds,
        finished_at = coalesce(excluded.finished_at, r.finished_at),
        checked = CASE WHEN excluded.is_finished THEN excluded.checked ELSE r.checked END,
        violations = CASE WHEN excluded.is_finished THEN excluded.violations ELSE r.violations END,
        examples = CASE WHEN excluded.is_finished THEN excluded.examples ELSE r.examples END
""")


async def check_on_schedule(*, period_seconds: float, review_after_seconds: float) -> int:
    """Check as many rules as time allows, and return their number.

    Return 0 if a check began within the period. Raises ``ServiceUnavailable`` if the database is unreachable.
    """
    async with transaction(Role.SWEEP) as connection:
        if not (await connection.execute(_CLAIM, {"period": period_seconds})).scalar():
            return 0
        await connection.execute(_FORGET, {"rules": [rule.name for rule in RULES]})
        tried = {row.rule: row.tried_at.timestamp() for row in await connection.execute(_TRIED)}
    began, number = time.monotonic(), 0
    for rule in sorted(RULES, key=lambda rule: tried.get(rule.name, 0.0)):
        if time.monotonic() - began >= ALL_SECONDS:
            break
        await _check_rule(rule, review_after_seconds)
        number += 1
    return number


async def _check_rule(rule: Rule, review_after_seconds: float) -> None:
    """Check one rule within its limits, log its violations, and store the result."""
    began = time.monotonic()
    finding: Finding | None = None
    try:
        async with transaction(Role.OWNER, is_long=True) as connection:
            await connection.execute(_READ_ONLY)
            for limit in _LIMITS:
                await connection.execute(limit)
            (finding,) = await check(connection, (rule,), review_after_seconds=review_after_seconds)
    except (ServiceUnavailable, DBAPIError) as error:  # if the database is unreachable, storing the result below raises
        message = "the rule %s could not be checked within its limits; check it with `mpac invariants` (%s)"
        logger.warning(message, rule.name, type(error).__name__, extra={"event": "invariant.unfinished"})
    if finding and finding.count:
        message = "the rule %s (%s) has %d violations"
        logger.error(message, rule.name, rule.invariant, finding.count, extra={"event": "invariant.broken"})
    async with transaction(Role.SWEEP) as connection:
        await connection.execute(_STORE, _row(rule, finding, time.monotonic() - began))


def _row(rule: Rule, finding: Finding | None, seconds: float) -> dict[str, Any]:
    violations = finding.violations if finding else ()
    return {
        "rule": rule.name,
        "invariant": rule.invariant,
        "sentence": rule.sentence,
        "is_finished": finding is not None,
        "seconds": seconds,
        "checked": finding.checked if finding else None,
        "violations": finding.count if finding else None,
        "examples": rows_parameter([{"id": violation.id, "problem": violation.problem} for violation in violations]),
    }


class InvariantResult(Base):
    """The last finished findings of a rule, and whether its last check finished within its limit."""

    __tablename__ = "invariant_results"

    rule: Mapped[str] = mapped_column(Text, primary_key=True)
    invariant: Mapped[str] = mapped_column(Text)
    sentence: Mapped[str] = mapped_column(Text)
    tried_at: Mapped[datetime] = mapped_column(INSTANT)
    is_finished: Mapped[bool]
    finished_at: Mapped[datetime | None] = mapped_column(INSTANT)
    seconds: Mapped[float | None]
    checked: Mapped[int | None] = mapped_column(BigInteger)
    violations: Mapped[int | None] = mapped_column(BigInteger)
    examples: Mapped[Any] = mapped_column(JSONB)


class InvariantRun(Base):
    """The time at which the scheduled check last began."""

    __tablename__ = "invariant_runs"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    began_at: Mapped[datetime] = mapped_column(INSTANT)


_READ = text("SELECT * FROM invariant_results ORDER BY CAST(substr(invariant, 2) AS integer), rule")


async def read_results(role: Role) -> list[dict[str, Any]]:
    """Return the stored result of every rule that was ever checked, ordered by invariant."""
    async with transaction(role) as connection:
        return [dict(row) for row in (await connection.execute(_READ)).mappings()]
