"""Use fetched statements as answers about payments and refunds whose outcome is unknown.

| step   | transaction   | what                                                                                       |
|--------|---------------|--------------------------------------------------------------------------------------------|
| find   | one per page  | open rows of the store whose last attempt the settlement's fetched statements list          |
| record | one per 100   | the lines as an answer (``apply_evidence``)                                                |
| flag   | one           | rows whose outcome came from lines that the current statement lacks; schedule the next try |

Connections for long calls are used, so that live traffic is not delayed. Rows of a locked bill, and rows that a worker is
processing, are not waited for: they are ``left`` for another try a minute later. The work stops after ``BUDGET_SECONDS``; the
next try continues it. Uploaded statements are not used: a person confirms them break by break (``resolve_break``).
"""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.lock import lock_unlocked_bills
from workflows.database.engines import Role, switch_role, use_bulk_settings
from workflows.reconciliation.apply_evidence import WORKLOADS, Evidence, EvidenceResult, apply_evidence, moved_lines
from workflows.reconciliation.vanished_lines import flag_vanished_lines
from workflows.settlements.models import Settlement, SettlementRow
from workflows.settlements.states import SettlementStatus
from workflows.tenants.actor import Actor

logger = logging.getLogger(__name__)

PAGE = 5_000
"""Open rows per search; each search reads the whole statement."""

GROUP = 100  # the most ids that one NOTIFY can carry, and a short transaction
BUDGET_SECONDS = 45.0  # of the 110 s of a task; the comparison needs the rest

PAUSE = timedelta(minutes=1)
"""The time until rows that were left are tried again."""

_SETTLEMENT = text("SELECT * FROM settlements WHERE id = :id")
_STATEMENTS = text("""
    -- statements: the newest statement of each provider, if it was fetched
    SELECT id, provider, created_at FROM (
        SELECT DISTINCT ON (provider) id, provider, source, created_at FROM statements WHERE settlement_id = :id
        ORDER BY provider, number DESC) newest
    WHERE source = 'api'
""")
_AGAIN = text("""
    -- again: schedule a try by the workers, even after a comparison that a person started
    INSERT INTO reconciliation_tries AS t (settlement_id, merchant_id, store_id, tries, due_at)
    SELECT id, merchant_id, store_id, 1, now() + CAST(:pause AS interval) FROM settlements WHERE id = :id
    ON CONFLICT (settlement_id) DO UPDATE SET due_at = least(t.due_at, excluded.due_at)
""")
_OPEN = """
    -- open: the store's rows that are not final, found by the index on rows in doubt and the list of due rows
    SELECT e.id, e.payment_id, e.bill_id, e.provider, a.reference FROM (
        SELECT id, {payment_id} AS payment_id, {bill_id} AS bill_id, provider, attempts FROM {entity}s r
        WHERE store_id = :store_id AND NOT outcome_known AND status = 'processing' AND id > :after
        UNION
        SELECT id, {payment_id}, {bill_id}, provider, attempts FROM {entity}s r
        WHERE id IN (SELECT id FROM due_{entity}s) AND store_id = :store_id AND status = 'processing' AND id > :after
    ) e JOIN {entity}_attempts a ON a.{entity}_id = e.id AND a.number = e.attempts
    WHERE e.provider = ANY(:providers) ORDER BY e.id LIMIT :limit
"""
_OPEN_ROWS = {
    "payment": text(_OPEN.format(entity="payment", payment_id="r.id", bill_id="r.bill_id")),
    "refund": text(
        _OPEN.format(
            entity="refund",
            payment_id="r.payment_id",
            bill_id="(SELECT p.bill_id FROM payments p WHERE p.id = r.payment_id)",
        )
    ),
}


@dataclass(slots=True)
class Doubts:
    """The number of rows whose doubt ``ended``, and of rows that were ``left`` for the next try."""

    ended: int = 0
    left: int = 0


async def resolve_unknown_outcomes(settlement_id: str, *, actor: Actor) -> Doubts:
    """Record the outcomes that a closed settlement's fetched statements prove.

    A repeated, late or missing call is harmless. Raises ``ResourceNotFound``, ``ServiceUnavailable``.
    """
    loop = asyncio.get_running_loop()
    stop_at = loop.time() + BUDGET_SECONDS
    doubts = Doubts()
    for entity in WORKLOADS:
        after: str | None = ""
        while after is not None:
            found, after = await _find(settlement_id, entity, after, actor=actor)
            for group in _groups(found):
                if loop.time() > stop_at:
                    doubts.left += len(group)
                else:
                    await _record(entity, group, doubts, actor=actor)
    async with actor.transaction(is_long=True) as connection:
        await switch_role(connection, Role.WORKER)
        await flag_vanished_lines(connection, settlement_id, by=_author(actor))
        if doubts.left:
            await connection.execute(_AGAIN, {"id": settlement_id, "pause": PAUSE})
    return doubts


async def _find(settlement_id: str, entity: str, after: str, *, actor: Actor) -> tuple[list[Evidence], str | None]:
    """Return a page of rows with their lines, and the id after which the next page, if any, starts."""
    async with actor.transaction(is_long=True) as connection:
        await actor.require_visible(connection, Settlement, settlement_id)
        await switch_role(connection, Role.WORKER)
        await use_bulk_settings(connection)
        row = (await connection.execute(_SETTLEMENT, {"id": settlement_id})).mappings().one()
        settlement = cast(SettlementRow, dict(row))
        found = (await connection.execute(_STATEMENTS, {"id": settlement_id})).mappings()
        statements = [dict(statement) for statement in found]
        if settlement["status"] != SettlementStatus.CLOSED or not statements:
            return [], None
        wanted = {"store_id": settlement["store_id"], "after": after, "limit": PAGE}
        wanted["providers"] = [statement["provider"] for statement in statements]
        rows = (await connection.execute(_OPEN_ROWS[entity], wanted)).mappings().all()
        evidence = await _evidence(connection, [dict(row) for row in rows], settlement, statements)
        return evidence, rows[-1]["id"] if len(rows) == PAGE else None


async def _evidence(
    connection: AsyncConnection,
    rows: list[dict[str, Any]],
    settlement: SettlementRow,
    statements: list[dict[str, Any]],
) -> list[Evidence]:
    """Return the evidence about those of ``rows`` that the statement of their provider lists."""
    if not rows:
        return []
    lines = await moved_lines(
        connection, [statement["id"] for statement in statements], [row["reference"] for row in rows]
    )
    of_provider = {statement["provider"]: statement for statement in statements}
    return [
        Evidence(
            **row,
            statement_id=statement["id"],
            stored_at=statement["created_at"],
            is_fetched=True,
            settlement=settlement,
            lines=lines[statement["id"], row["reference"]],
        )
        for row in rows
        if (statement := of_provider[row["provider"]]) and (statement["id"], row["reference"]) in lines
    ]


def _groups(evidence: list[Evidence]) -> Iterator[list[Evidence]]:
    for start in range(0, len(evidence), GROUP):
        yield evidence[start : start + GROUP]


async def _record(entity: str, group: list[Evidence], doubts: Doubts, *, actor: Actor) -> None:
    async with actor.transaction(is_long=True) as connection:
        await switch_role(connection, Role.WORKER)
        found = await apply_evidence(connection, entity, group, locking=lock_unlocked_bills, by=_author(actor))
    doubts.left += len(group) - len(found)
    for result in found:
        if result.status and result.status != "processing":
            doubts.ended += 1
        _log_result(entity, result)


def _author(actor: Actor) -> str:
    return f"api for {actor.id}" if actor.caller else actor.worker


def _log_result(entity: str, result: EvidenceResult) -> None:
    evidence = result.evidence
    context = {f"{entity}_id": evidence.id, "settlement_id": evidence.settlement["id"]}
    if result.issue:
        logger.warning(
            "lines of %s do not decide %s: %s",
            evidence.statement_id,
            evidence.id,
            result.issue,
            extra={"event": f"{entity}.evidence_rejected", **context},
        )
    elif result.status:
        logger.info(
            "%s %s is %s by statement %s",
            entity,
            evidence.id,
            result.status,
            evidence.statement_id,
            extra={"event": f"{entity}.ended_by_statement", **context},
        )
