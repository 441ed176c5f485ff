"""Requeue: an operator has looked at a dead letter and wants it tried again.

A quarantined payment becomes due at once, with its deaths forgotten; what a provider may have heard of is still asked
about first. Any other message is handed back for publishing.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text

from workflows.errors import Detail, InvalidStatusTransition, ResourceNotFound
from workflows.payments.models import DeadLetter
from workflows.payments.states import PAYMENT, PaymentRemark, PaymentStatus
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import By, apply

_TAKE = text("""
    UPDATE dead_letters SET requeued_at = now(), requeued_by = :by WHERE id = :id AND requeued_at IS NULL
    RETURNING id, task, arguments, entity_id, requeued_at
""")
_STATUS = text("SELECT status FROM payments WHERE id = :id")
_KNOWN = text("SELECT requeued_at FROM dead_letters WHERE id = :id")


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


async def requeue_dead_letter(letter_id: str, *, caller: Caller, request_id: str) -> Requeued:
    """Have a dead letter tried again, once. Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (done already)."""
    async with caller_transaction(caller) as connection:
        letter = (await connection.execute(_TAKE, {"id": letter_id, "by": caller.id})).mappings().one_or_none()
        if letter is None:
            known = (await connection.execute(_KNOWN, {"id": letter_id})).one_or_none()
            if known is None:
                raise ResourceNotFound()
            raise InvalidStatusTransition(
                Detail("requeued_at", f"This letter was requeued at {known.requeued_at:%FT%TZ}")
            )
        if letter["entity_id"]:
            by = By.caller(caller, at=letter["requeued_at"], request_id=request_id)
            status = (await connection.execute(_STATUS, {"id": letter["entity_id"]})).scalar()
            if status == PaymentStatus.PROCESSING:
                changes = {"due_at": letter["requeued_at"], "unanswered_claims": 0}
                event = PaymentRemark.REQUEUE
                await apply(connection, PAYMENT, entity_id=letter["entity_id"], event=event, by=by, changes=changes)
    return Requeued(letter["task"], letter["arguments"])
