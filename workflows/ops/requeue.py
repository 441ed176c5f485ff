"""Requeue: an operator has looked at a dead letter and wants it tried again.

| step    | what                                                                                                   |
|---------|--------------------------------------------------------------------------------------------------------|
| look    | the letter, if it is open and holds a task                                                              |
| publish | its message: before the mark, so that with the broker away the press fails and can be repeated          |
| mark    | by whom and when; a quarantined payment or refund becomes due at once, with its deaths forgotten         |

Dying in between publishes twice, which is harmless. What a provider may have heard of is still asked about first.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, InvalidStatusTransition, ResourceNotFound
from workflows.ops.dead_letters import dealt_with
from workflows.payments.states import PaymentRemark, PaymentStatus
from workflows.state_machine import StateMachine
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import ChangeContext, apply

_TAKE = text("""
    UPDATE dead_letters SET requeued_at = now(), requeued_by = :by
    WHERE id = :id AND requeued_at IS NULL AND closed_at IS NULL
    RETURNING id, task, arguments, entity_id, requeued_at
""")
_KNOWN = text("SELECT task, arguments, requeued_at, closed_at, message FROM dead_letters WHERE id = :id")


PROCESSING, REQUEUE = PaymentStatus.PROCESSING, PaymentRemark.REQUEUE
"""Refunds have the same words for both."""


@dataclass(frozen=True, slots=True)
class Requeued:
    """What to publish: a task with its arguments."""

    task: str
    arguments: list[Any]


Publish = Callable[[str, list[Any]], Awaitable[None]]
"""Puts a task's message on the broker. Raises ``ServiceUnavailable``."""


async def requeue_dead_letter(
    letter_id: str, *, publish: Publish, leased: Iterable[StateMachine], caller: Caller, request_id: str
) -> Requeued:
    """Have a dead letter tried again, once. ``leased`` are the entities whose rows may have been quarantined.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (done already), ``ServiceUnavailable`` (nothing was done).
    """
    async with caller_transaction(caller) as connection:
        found = await _look(connection, letter_id)
    await publish(found.task, found.arguments)
    async with caller_transaction(caller) as connection:
        letter = (await connection.execute(_TAKE, {"id": letter_id, "by": caller.id})).mappings().one_or_none()
        if letter is None:  # somebody else pressed at the same moment
            await _look(connection, letter_id)
            raise ResourceNotFound()
        machine = next((one for one in leased if letter["task"] == f"{one.name}s.process"), None)
        if machine and letter["entity_id"]:
            by = ChangeContext.caller(caller, at=letter["requeued_at"], request_id=request_id)
            await _let_go(connection, machine, letter["entity_id"], by)
    return found


async def _look(connection: AsyncConnection, letter_id: str) -> Requeued:
    """Return a letter that is open and holds a task. Raises ``ResourceNotFound``, ``InvalidStatusTransition``."""
    known = (await connection.execute(_KNOWN, {"id": letter_id})).one_or_none()
    if known is None:
        raise ResourceNotFound()
    if known.requeued_at is not None or known.closed_at is not None:
        raise InvalidStatusTransition(dealt_with(known.requeued_at, known.closed_at))
    if known.message is not None:
        raise InvalidStatusTransition(Detail("message", "No task can be made of this message: close the letter"))
    return Requeued(known.task, known.arguments)


async def _let_go(connection: AsyncConnection, machine: StateMachine, entity_id: str, by: ChangeContext) -> None:
    """Make a quarantined row due, unless it has become final meanwhile."""
    found = await connection.execute(text(f"SELECT status FROM {machine.name}s WHERE id = :id"), {"id": entity_id})
    if found.scalar() == PROCESSING:
        changes = {"due_at": by.at, "unanswered_claims": 0}
        await apply(connection, machine, entity_id=entity_id, event=REQUEUE, by=by, changes=changes)
