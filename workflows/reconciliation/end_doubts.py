"""End doubts: use the statements that were fetched for a settlement as the answer about payments and refunds still open.

| step   | transaction   | what                                                                                       |
|--------|---------------|--------------------------------------------------------------------------------------------|
| find   | one a page    | open rows of the store whose last attempt the settlement's fetched statements list          |
| record | one a hundred | what the lines say, as an answer (``reconciliation.apply_evidence``)                        |
| flag   | one           | rows that ended by lines which the statement that counts no longer has; when to look again  |

It uses connections for long calls, so that live traffic keeps its own. It waits neither for a bill nor for a row that a worker
has in hand: those are ``left``, and looked at again a minute later. It stops after ``BUDGET_SECONDS``; the next try goes on.
A statement that was uploaded is not used: a person confirms it break by break (``resolve_break``).
"""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.lock import lock_free
from workflows.database.bulk import use_bulk_settings
from workflows.database.engines import Role, act_as
from workflows.reconciliation.apply_evidence import WORKLOADS, Evidence, EvidenceResult, apply_evidence, moved_lines
from workflows.reconciliation.withdrawn import flag_withdrawn
from workflows.settlements.models import Settlement
from workflows.settlements.rows import SettlementRow
from workflows.settlements.states import SettlementStatus
from workflows.tenants.actor import Actor

logger = logging.getLogger(__name__)

PAGE = 5_000
"""Open rows whose lines are searched at once: each search reads the whole statement."""

GROUP = 100  # as many as one NOTIFY can name, and a short transaction
BUDGET_SECONDS = 45.0  # of the 110 s that a task may take; the comparison follows

PAUSE = timedelta(minutes=1)
"""Until a row that was left is looked at again."""

_SETTLEMENT = text("SELECT * FROM settlements WHERE id = :id")
_STATEMENTS = text("""
    -- statements: the newest of each provider, if we fetched it
    SELECT id, provider, created_at FROM (
        SELECT DISTINCT ON (provider) id, provider, source, created_at FROM statements WHERE settlement_id = :id
        ORDER BY provider, number DESC) newest
    WHERE source = 'api'
""")
_AGAIN = text("""
    -- again: the workers try it soon, also after a comparison by hand
    INSERT INTO reconciliation_tries AS t (settlement_id, merchant_id, store_id, tries, due_at)
    SELECT id, merchant_id, store_id, 1, now() + CAST(:pause AS interval) FROM settlements WHERE id = :id
    ON CONFLICT (settlement_id) DO UPDATE SET due_at = least(t.due_at, excluded.due_at)
""")
_OPEN = """
    -- open: the store's rows that are not final, by the indexes of what is in doubt and of what is due
    SELECT e.id, e.payment_id, e.bill_id, e.provider, a.reference FROM (
        SELECT id, {payment_id} AS payment_id, {bill_id} AS bill_id, provider, attempts FROM {entity}s r
        WHERE store_id = :store_id AND NOT outcome_known AND status = 'processing' AND id > :after
        UNION
        SELECT id, {payment_id}, {bill_id}, provider, attempts FROM {entity}s r
        WHERE due_at IS NOT NULL AND store_id = :store_id AND status = 'processing' AND id > :after
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
    """What a settlement's statements did: rows whose doubt ``ended``, rows that were ``left`` to be looked at again soon."""

    ended: int = 0
    left: int = 0


async def end_doubts(settlement_id: str, *, actor: Actor) -> Doubts:
    """End the doubts that a closed settlement's fetched statements decide. Safe to call twice, late or never.

    Raises ``ResourceNotFound``, ``ServiceUnavailable``.
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
        await act_as(connection, Role.WORKER)
        await flag_withdrawn(connection, settlement_id, by=_author(actor))
        if doubts.left:
            await connection.execute(_AGAIN, {"id": settlement_id, "pause": PAUSE})
    return doubts


async def _find(settlement_id: str, entity: str, after: str, *, actor: Actor) -> tuple[list[Evidence], str | None]:
    """Return a page of rows with their lines, and the id to go on after (``None``: there are no more)."""
    async with actor.transaction(is_long=True) as connection:
        await actor.require_visible(connection, Settlement, settlement_id)
        await act_as(connection, Role.WORKER)
        await use_bulk_settings(connection)
        row = (await connection.execute(_SETTLEMENT, {"id": settlement_id})).mappings().one()
        settlement = cast(SettlementRow, dict(row))
        statements = (await connection.execute(_STATEMENTS, {"id": settlement_id})).mappings().all()
        if settlement["status"] != SettlementStatus.CLOSED or not statements:
            return [], None
        wanted = {"store_id": settlement["store_id"], "after": after, "limit": PAGE}
        wanted["providers"] = [one["provider"] for one in statements]
        rows = (await connection.execute(_OPEN_ROWS[entity], wanted)).mappings().all()
        found = await _evidence(connection, [dict(row) for row in rows], settlement, [dict(one) for one in statements])
        return found, rows[-1]["id"] if len(rows) == PAGE else None


async def _evidence(
    connection: AsyncConnection,
    rows: list[dict[str, Any]],
    settlement: SettlementRow,
    statements: list[dict[str, Any]],
) -> list[Evidence]:
    """Return those of ``rows`` that the statement of their provider lists."""
    if not rows:
        return []
    lines = await moved_lines(connection, [one["id"] for one in statements], [row["reference"] for row in rows])
    of_provider = {one["provider"]: one for one in statements}
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
        await act_as(connection, Role.WORKER)
        found = await apply_evidence(connection, entity, group, locking=lock_free, by=_author(actor))
    doubts.left += len(group) - len(found)
    for one in found:
        if one.status and one.status != "processing":
            doubts.ended += 1
        _log_result(entity, one)


def _author(actor: Actor) -> str:
    return f"api for {actor.id}" if actor.caller else actor.worker


def _log_result(entity: str, result: EvidenceResult) -> None:
    marks = {f"{entity}_id": result.evidence.id, "settlement_id": result.evidence.settlement["id"]}
    if result.issue:
        logger.warning(
            "%s is no answer about %s: %s", result.evidence.statement_id, result.evidence.id, result.issue, extra=marks
        )
    elif result.status:
        logger.info(
            "%s %s: %s by %s", entity, result.evidence.id, result.status, result.evidence.statement_id, extra=marks
        )
