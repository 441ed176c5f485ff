"""Compare a closed settlement with the statements of its providers, in one numbered run.

| step     | what                                                                                                         |
|----------|--------------------------------------------------------------------------------------------------------------|
| lock     | the settlement's row, so that its runs are serial; then its statements (``settlements.lock``)                |
| match    | the settlement's lines with the newest statement of each provider (``match``)                                |
| explain  | the sums by category; a run that leaves a difference unexplained is not stored (``record_run``)              |
| list     | the lines without a statement; the day is signed off only after a person accepted them (``sign_off``)        |
| record   | breaks; a break that an earlier run found keeps its resolution (``record_run``)                              |
| rebook   | reverse corrections of breaks that are gone, repeat those of breaks that return (``adjust``)                 |
| link     | breaks about lines that ended a doubt (``link_breaks``)                                                      |
| sign off | ``reconciled``, if nothing is left open; else a remark in the history (``sign_off``)                         |

A run depends only on the lines, the current statements, the outcomes of our attempts and the time, which decides what may
still be ``expected``. Repeating it with the same input gives the same result under another number.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import rows_parameter, use_bulk_settings
from workflows.errors import ServiceUnavailable
from workflows.providers.registry import remote_names
from workflows.reconciliation.adjust import rebook
from workflows.reconciliation.link_breaks import link_evidence
from workflows.reconciliation.match import Comparison, match_lines
from workflows.reconciliation.models import RunRow
from workflows.reconciliation.record_run import record_breaks, summarise
from workflows.reconciliation.sign_off import (
    UncomparedAcceptance,
    find_uncompared,
    is_accepted,
    record_uncompared,
    sign_off_if_clean,
    silent_providers,
)
from workflows.settings import Settings
from workflows.settlements.lock import lock_settlements, read_locked
from workflows.settlements.models import LockedSettlement, Settlement
from workflows.settlements.states import SETTLEMENT, SettlementEvent, SettlementRemark, SettlementStatus
from workflows.tenants.actor import Actor
from workflows.transitions import ChangeContext, apply, invalid_transition_error

RAN_OUT_OF_TIME = "57014"  # statement_timeout, set by use_bulk_settings


class ComparisonTooLong(ServiceUnavailable):
    """A run exceeded its time limit and was discarded."""

    message = (
        "The comparison exceeded its time limit and nothing of it was stored. Retry when the service is less busy, or upload a"
        " statement first if there is none: lines that agree are compared much faster than lines that differ"
    )


AGAIN_AFTER_SECONDS = 60

_CURRENT = text("""
    -- current: the newest statement of each provider supersedes its earlier ones
    SELECT DISTINCT ON (provider) id, provider FROM statements
    WHERE settlement_id = :id ORDER BY provider, number DESC
""")
_RUN = text("""
    INSERT INTO reconciliation_runs (settlement_id, number, merchant_id, store_id, at, caller_type, caller_id,
                                     statement_ids, summary)
    SELECT settlement_id, number, merchant_id, store_id, at, caller_type, caller_id, statement_ids, summary
    FROM jsonb_populate_recordset(NULL::reconciliation_runs, CAST(:rows AS jsonb))
""")
_ENDED = text("""
    -- ended: payments and refunds whose doubt a statement of this settlement ended; refunds count as negative amounts
    SELECT count(*) AS count, coalesce(sum(CASE WHEN answer = 'withdrawn' THEN 0 WHEN entity_id LIKE 'rfd%' THEN -amount
           ELSE amount END), 0)::bigint AS amount
    FROM statement_evidence WHERE settlement_id = :id AND status <> 'processing'
""")
_LAST_RUN = text("SELECT coalesce(max(number), 0) FROM reconciliation_runs WHERE settlement_id = :id")


async def reconcile_settlement(
    settlement_id: str,
    *,
    actor: Actor,
    settings: Settings,
    silent: Collection[str] = (),
    acceptance: UncomparedAcceptance | None = None,
) -> dict[str, Any]:
    """Compare a settlement and return the run: ``{"run", "settlement_id", "status", "at", "summary", …}``.

    ``silent`` are providers that were asked for this run and did not answer. Their statements may differ from the stored ones,
    so the run is stored but the settlement is not signed off; the workers try again later, and sign off settlements that are
    clean then. ``acceptance`` is given by a person who signs the day off although some lines were not compared.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (open, or already reconciled), ``ServiceUnavailable`` (no
    database, or another run is under way) and ``ComparisonTooLong``.
    """
    async with actor.transaction(is_long=True) as connection:
        await actor.require_visible(connection, Settlement, settlement_id)
        await use_bulk_settings(connection)
        await lock_settlements(connection, [settlement_id])
        settlement = await read_locked(connection, settlement_id)
        if settlement["status"] != SettlementStatus.CLOSED:
            raise invalid_transition_error(SETTLEMENT, settlement["status"], SettlementEvent.RECONCILE)
        comparison = await _comparison(connection, settlement, settings, acceptance)
        try:
            return await _compare(connection, comparison, actor=actor, silent=silent, acceptance=acceptance)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == RAN_OUT_OF_TIME:  # untested: false if the database fails
                raise ComparisonTooLong(retry_after_seconds=AGAIN_AFTER_SECONDS) from error
            raise  # untested: a failure of the database


async def _compare(
    connection: AsyncConnection,
    comparison: Comparison,
    *,
    actor: Actor,
    silent: Collection[str],
    acceptance: UncomparedAcceptance | None,
) -> dict[str, Any]:
    """Match the lines, sum them up and store the run.

    Raises ``AssertionError`` if the sums are not explained.
    """
    await match_lines(connection, comparison)
    summary, is_explained = await summarise(connection, currency=comparison.settlement["currency"])
    if not is_explained:  # untested: a second proof, in case the statements above are wrong
        raise AssertionError(f"the run over {comparison.settlement['id']} does not explain its difference")
    by = ChangeContext.actor(actor, at=comparison.settlement["now"], reason=acceptance.note if acceptance else None)
    uncompared = await find_uncompared(connection, comparison.parameters())
    summary["uncompared"] = await record_uncompared(
        connection, comparison.settlement, uncompared, acceptance=acceptance, by=by
    )
    ended = (await connection.execute(_ENDED, {"id": comparison.settlement["id"]})).mappings().one()
    summary["ended_by_statement"] = dict(ended)
    return await _store_run(connection, comparison, summary, by=by, silent=silent)


async def _comparison(
    connection: AsyncConnection,
    settlement: LockedSettlement,
    settings: Settings,
    acceptance: UncomparedAcceptance | None,
) -> Comparison:
    """Return the input of the run: the current statements, and the providers whose lines are compared."""
    current = (await connection.execute(_CURRENT, {"id": settlement["id"]})).mappings().all()
    stated = sorted({row["provider"] for row in current})
    policy = await silent_providers(connection, settlement["store_id"])
    providers = sorted({*stated, *(name for name in remote_names() if name not in policy)})
    return Comparison(
        settlement=settlement,
        statement_ids=sorted(row["id"] for row in current),
        stated=stated,
        providers=providers,
        silent=policy,
        is_accepted=is_accepted(settlement, acceptance),
        sla_hours={name: settings.statement_sla(name) for name in providers},
        date_tolerance_minutes=settings.statement_date_tolerance_minutes,
    )


async def _store_run(
    connection: AsyncConnection,
    comparison: Comparison,
    summary: dict[str, Any],
    *,
    by: ChangeContext,
    silent: Collection[str],
) -> dict[str, Any]:
    """Store the run and its breaks; sign the settlement off if it is clean and every provider answered."""
    settlement = comparison.settlement
    at = by.at
    last: int = (await connection.execute(_LAST_RUN, {"id": settlement["id"]})).scalar_one()
    run: RunRow = {
        "settlement_id": settlement["id"],
        "number": last + 1,
        "merchant_id": settlement["merchant_id"],
        "store_id": settlement["store_id"],
        "at": at,
        "caller_type": by.caller_type,
        "caller_id": by.caller_id,
        "statement_ids": comparison.statement_ids,
        "summary": summary,
    }
    await connection.execute(_RUN, {"rows": rows_parameter([dict(run)])})
    open_breaks = await record_breaks(connection, settlement, run=run["number"], at=at)
    open_breaks += await rebook(connection, settlement, run=run["number"], at=at)
    open_breaks -= await link_evidence(connection, settlement, run=run["number"], at=at)
    is_finished = not silent and await sign_off_if_clean(connection, settlement["id"], by=by)
    if not is_finished:
        changes = {"open_breaks": open_breaks}
        event = SettlementRemark.COMPARE
        await apply(connection, SETTLEMENT, entity_id=settlement["id"], event=event, by=by, changes=changes)
    status = SettlementStatus.RECONCILED if is_finished else SettlementStatus.CLOSED
    return {**run_fields(run), "status": status, "open_breaks": open_breaks}


def run_fields(run: RunRow) -> dict[str, Any]:
    """Return the API fields of a run."""
    return {
        "run": run["number"],
        "settlement_id": run["settlement_id"],
        "at": run["at"],
        "statement_ids": run["statement_ids"],
        "summary": run["summary"],
        "by": run["caller_id"],
    }
