"""Requeue: an operator has looked at a dead letter and wants it tried again.

A quarantined payment or refund becomes due at once, with its deaths forgotten; what a provider may have heard of is still
asked about first. Any other message is handed back for publishing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, InvalidStatusTransition, ResourceNotFound
from workflows.machine import StateMachine
from workflows.payments.models import DeadLetter
from workflows.payments.states import PaymentRemark, PaymentStatus
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import By, apply

_TAKE = text("""
    UPDATE dead_letters SET requeued_at = now(), requeued_by = :by WHERE id = :id AND requeued_at IS NULL
    RETURNING id, task, arguments, entity_id, requeued_at
""")
_KNOWN = text("SELECT requeued_at FROM dead_letters WHERE id = :id")


PROCESSING, REQUEUE = PaymentStatus.PROCESSING, PaymentRemark.REQUEUE
"""Refunds have the same words for both."""


@dataclass(frozen=True, slots=True)
class Requeued:
    """What to publish: a task with its arguments."""

    task: str
    arguments: list[Any]


async def list_dead_letters(*, caller: Caller, limit: int, before: str | None) -> list[dict[str, Any]]:
    """Up to ``limit`` dead letters, newest first, older than the id ``before``."""
    statement = select(DeadLetter.__table__).order_by(DeadLetter.id.desc()).limit(limit)
    if before:
        statement = statement.where(DeadLetter.id < before)
    async with caller_transaction(caller) as connection:
        return [dict(row) for row in (await connection.execute(statement)).mappings()]


async def requeue_dead_letter(
    letter_id: str, *, leased: Iterable[StateMachine], caller: Caller, request_id: str
) -> Requeued:
    """Have a dead letter tried again, once. ``leased`` are the entities whose rows may have been quarantined.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (done already).
    """
    async with caller_transaction(caller) as connection:
        letter = (await connection.execute(_TAKE, {"id": letter_id, "by": caller.id})).mappings().one_or_none()
        if letter is None:
            known = (await connection.execute(_KNOWN, {"id": letter_id})).one_or_none()
            if known is None:
                raise ResourceNotFound()
            raise InvalidStatusTransition(
                Detail("requeued_at", f"This letter was requeued at {known.requeued_at:%FT%TZ}")
            )
        machine = next((one for one in leased if letter["task"] == f"{one.name}s.process"), None)
        if machine and letter["entity_id"]:
            by = By.caller(caller, at=letter["requeued_at"], request_id=request_id)
            await _let_go(connection, machine, letter["entity_id"], by)
    return Requeued(letter["task"], letter["arguments"])


async def _let_go(connection: AsyncConnection, machine: StateMachine, entity_id: str, by: By) -> None:
    """Make a quarantined row due, unless it has become final meanwhile."""
    found = await connection.execute(text(f"SELECT status FROM {machine.name}s WHERE id = :id"), {"id": entity_id})
    if found.scalar() == PROCESSING:
        changes = {"due_at": by.at, "unanswered_claims": 0}
        await apply(connection, machine, entity_id=entity_id, event=REQUEUE, by=by, changes=changes)
