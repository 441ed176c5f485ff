"""Reconcile settlements automatically once their providers have had the time to report.

| a closed settlement                                                      | is due                                   |
|--------------------------------------------------------------------------|------------------------------------------|
| that was never tried                                                     | after the providers' service level        |
| whose provider did not answer, whose worker died, or which took too long | after 1, 5, 15 minutes, then hourly      |
| with lines that a statement may still bring                              | in an hour                               |
| with breaks                                                              | never: people resolve them               |
| with lines that were not compared                                        | never: a person accepts that             |
| with a break whose payment or refund was not final                       | at once when it is final                 |
| with a break whose payment or refund became in doubt after the last run  | at once: the line may end the doubt      |
| whose statement ends a doubt about a row that a worker was processing    | after a minute                           |
| that was clean except for its missing cash count                         | at once when the cash is counted         |

A try is recorded before it begins, so that a try that crashes its worker is not repeated immediately.
"""

import logging
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from workflows.database.engines import Role, transaction
from workflows.errors import InvalidStatusTransition
from workflows.processing.due import DueRow
from workflows.processing.task_summary import TextSummary
from workflows.providers.registry import Providers, remote_names
from workflows.reconciliation.reconcile import ComparisonTooLong, reconcile_settlement
from workflows.reconciliation.resolve_unknown_outcomes import resolve_unknown_outcomes
from workflows.reconciliation.statements.fetch import fetch_statements
from workflows.settings import Settings
from workflows.tenants.actor import Actor

logger = logging.getLogger(__name__)

PAUSES = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1))
"""The pauses between two tries; the last one repeats."""

EXPECTING = timedelta(hours=1)
"""The pause after a run that still expects lines."""

_DUE = text("""
    -- due: closed settlements, by their partial index. The last run tells whether only the cash count was missing. A try that
    -- is further ahead than its pause was written before the database's clock was set back.
    SELECT s.id, coalesce(t.due_at, r.at, s.end_at) AS at,
           CASE WHEN t.due_at <= now() THEN 'try_again' WHEN w.is_over THEN 'final'
                WHEN t.due_at IS NOT NULL THEN 'clock_set_back'
                WHEN t.settlement_id IS NULL THEN 'statement_due' ELSE 'counted' END AS why
    FROM settlements s
    LEFT JOIN reconciliation_tries t ON t.settlement_id = s.id
    LEFT JOIN LATERAL (SELECT number, at, CAST(summary #>> '{categories,expected,count}' AS bigint) AS expected
                       FROM reconciliation_runs WHERE settlement_id = s.id ORDER BY number DESC LIMIT 1) r ON true
    LEFT JOIN LATERAL (
        SELECT true AS is_over FROM breaks b
        WHERE b.settlement_id = s.id AND b.waits_for IS NOT NULL AND b.resolution IS NULL AND b.run = r.number AND (
            EXISTS (SELECT FROM payments p WHERE p.id = b.waits_for
                    AND (p.status NOT IN ('pending', 'processing') OR p.in_doubt_since > r.at))
            OR EXISTS (SELECT FROM refunds f WHERE f.id = b.waits_for
                       AND (f.status NOT IN ('pending', 'processing') OR f.in_doubt_since > r.at)))
        LIMIT 1) w ON true
    WHERE s.status = 'closed' AND (
        t.due_at <= now()
        OR (w.is_over AND t.due_at IS NULL)
        OR t.due_at > now() + interval '1 minute' + CASE t.tries WHEN 0 THEN CAST(:expecting AS interval)
            ELSE (CAST(:pauses AS interval[]))[least(t.tries, cardinality(CAST(:pauses AS interval[])))] END
        OR (t.settlement_id IS NULL AND s.end_at + make_interval(secs => 3600 * :sla_hours) <= now())
        OR (t.due_at IS NULL AND r.expected = 0 AND s.open_breaks = 0
            AND NOT coalesce(CAST(s.uncompared ->> 'needs_acceptance' AS boolean), false)
            AND (s.cash_actual IS NOT NULL OR s.cash_expected = 0)))
    ORDER BY s.end_at, s.id LIMIT :limit
""")
_START_TRY = text("""
    -- try: recorded before it begins; a settlement that another worker has just begun is not due any more
    INSERT INTO reconciliation_tries AS t (settlement_id, merchant_id, store_id, tries, due_at)
    SELECT id, merchant_id, store_id, 1, now() + CAST(:pause AS interval) FROM settlements
    WHERE id = :id AND status = 'closed'
    ON CONFLICT (settlement_id) DO UPDATE SET tries = t.tries + 1, due_at = now() + (CAST(:pauses AS interval[]))[
        least(t.tries + 1, cardinality(CAST(:pauses AS interval[])))]
    RETURNING tries
""")
_FINISH_TRY = text("""
    UPDATE reconciliation_tries SET tries = :tries, due_at = now() + CAST(:pause AS interval), trouble = :last_error
    WHERE settlement_id = :id
""")


async def find_due_reconciliations(*, limit: int, settings: Settings) -> list[DueRow]:
    """Return up to ``limit`` settlements to reconcile, longest overdue first."""
    async with transaction(Role.SWEEP) as connection:
        sla_hours = max(settings.statement_sla(name) for name in remote_names())
        pauses = {"pauses": list(PAUSES), "expecting": EXPECTING}
        found = await connection.execute(_DUE, {"limit": limit, "sla_hours": sla_hours, **pauses})
        return [DueRow(row.id, row.at, row.why) for row in found]


async def reconcile_due(settlement_id: str, *, worker: str, settings: Settings, providers: Providers) -> TextSummary:
    """Fetch the providers' statements, and reconcile the settlement if all providers answered.

    Returns the result as a sentence for the task's log. A repeated, late or missing call is harmless. Raises
    ``ServiceUnavailable`` if the database cannot be reached.
    """
    actor = Actor(worker=worker)
    tries = await _start_try(settlement_id)
    if tries is None:
        return TextSummary("not due")
    try:
        fetched = await fetch_statements(settlement_id, actor=actor, providers=providers)
        doubts = await resolve_unknown_outcomes(settlement_id, actor=actor)
        errors = [f"{result.provider}: {result.error}" for result in fetched if result.error]
        if errors:
            logger.warning(
                "no statement for %s: %s",
                settlement_id,
                "; ".join(errors),
                extra={"event": "settlement.statement_missing", "settlement_id": settlement_id},
            )
            await _finish_try(settlement_id, tries=tries, pause=_backoff(tries), error="; ".join(errors))
            silent = ", ".join(result.provider for result in fetched if result.error)
            return TextSummary(f"no statement of {silent}", is_open=True)
        run = await reconcile_settlement(settlement_id, actor=actor, settings=settings)
    except ComparisonTooLong as slow:
        logger.warning(
            "%s: %s",
            settlement_id,
            slow.text,
            extra={"event": "settlement.comparison_too_long", "settlement_id": settlement_id},
        )
        await _finish_try(settlement_id, tries=tries, pause=_backoff(tries), error=slow.text)
        return TextSummary("the comparison took too long", is_open=True)
    except InvalidStatusTransition:
        logger.info("%s is not closed or already reconciled; nothing to do", settlement_id)
        return TextSummary("already reconciled")
    await _finish_try(settlement_id, tries=0, pause=PAUSES[0] if doubts.left else _next_pause(run), error=None)
    return _summarise(run)


def _summarise(run: dict[str, Any]) -> TextSummary:
    """Return the result of a run as text: the number of lines in each category."""
    names = [f"{part['count']} {name}" for name, part in run["summary"]["categories"].items() if part["count"]]
    return TextSummary(", ".join(names) or "no lines to compare")


def _next_pause(run: dict[str, Any]) -> timedelta | None:
    """Return the pause before the next try, or ``None`` if no further try is needed."""
    return EXPECTING if run["summary"]["categories"]["expected"]["count"] else None


def _backoff(tries: int) -> timedelta:
    return PAUSES[min(tries, len(PAUSES)) - 1]


async def _start_try(settlement_id: str) -> int | None:
    async with transaction(Role.WORKER) as connection:
        parameters = {"id": settlement_id, "pause": PAUSES[0], "pauses": list(PAUSES)}
        return (await connection.execute(_START_TRY, parameters)).scalar_one_or_none()


async def _finish_try(settlement_id: str, *, tries: int, pause: timedelta | None, error: str | None) -> None:
    async with transaction(Role.WORKER) as connection:
        written = {"tries": tries, "pause": pause, "last_error": error}
        await connection.execute(_FINISH_TRY, {"id": settlement_id, **written})
