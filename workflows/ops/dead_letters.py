"""Dead letters: tasks and messages that were given up on, stored until an operator requeues or closes them.

A letter is open until it is requeued or closed. A letter with a ``message`` has content from which no task could be made; it
can only be closed.

A requeue has three steps:

| step    | what                                                                                                    |
|---------|---------------------------------------------------------------------------------------------------------|
| reserve | the letter, which must be open, have a task, and not be reserved for another request                    |
| publish | its message, before the mark: if the broker is unreachable, the requeue fails and can be repeated       |
| mark    | who requeued it and when; a quarantined payment or refund becomes due, with no unanswered claims        |

The reservation ends with the request, or after ``RESERVED_FOR`` if the process died. If it died in between, the message is
published twice, which is harmless. Before a payment is sent again, its provider is still asked about earlier attempts.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CheckConstraint, Index, Text, and_, not_, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from workflows.card_data import find_card_data, mask_digits
from workflows.database.engines import Base, Role, rows_parameter, transaction
from workflows.database.mixins import INSTANT
from workflows.errors import Detail, InvalidStatusTransition, ResourceNotFound
from workflows.ids import new_id
from workflows.payments.states import PAYMENT, PaymentRemark, PaymentStatus
from workflows.refunds.states import REFUND
from workflows.state_machine import StateMachine
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.query_helpers import page_of
from workflows.transitions import ChangeContext, apply


class DeadLetter(Base):
    """A task or message that was given up on, with the reason, until an operator requeues or closes it."""

    __tablename__ = "dead_letters"
    __table_args__ = (
        Index("dead_letters_open", "created_at", postgresql_where=text("requeued_at IS NULL")),
        CheckConstraint(
            "num_nonnulls(closed_at, closed_by, close_reason) IN (0, 3)",
            name="dead_letters_closed_by_somebody_for_a_reason",
        ),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    task: Mapped[str] = mapped_column(Text)
    task_id: Mapped[str | None] = mapped_column(Text)
    arguments: Mapped[Any] = mapped_column(JSONB)
    entity_id: Mapped[str | None] = mapped_column(Text)
    deliveries: Mapped[int]
    reason: Mapped[str] = mapped_column(Text)
    traceback: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    requeued_at: Mapped[datetime | None] = mapped_column(INSTANT)
    requeued_by: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str | None] = mapped_column(Text)
    closed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    closed_by: Mapped[str | None] = mapped_column(Text)
    close_reason: Mapped[str | None] = mapped_column(Text)
    requeue_until: Mapped[datetime | None] = mapped_column(INSTANT)


MAX_ARGUMENT_CHARACTERS = 65_536
"""The maximum length of arguments that are stored for a requeue; a nudge has at most 4,000 characters."""

MAX_CHARACTERS = {"task": 200, "task_id": 200, "reason": 500, "traceback": 20_000, "message": 4_096}
"""The number of characters at which each stored text is cut."""

_STORE = text("""
    INSERT INTO dead_letters (id, task, task_id, arguments, deliveries, reason, traceback, message, created_at)
    VALUES (:id, :task, :task_id, CAST(:arguments AS jsonb), :deliveries, :reason, :traceback, :message, now())
""")
RESERVED_FOR = timedelta(minutes=1)
"""How long a letter is reserved for the request that requeues it; publishing a message takes seconds at most."""

# clock_timestamp, because a request may wait for the row. It then sees the reservation of the request that it waited for.
_FREE = "requeued_at IS NULL AND closed_at IS NULL AND (requeue_until IS NULL OR requeue_until <= clock_timestamp())"
_CLOSE = text(f"""
    UPDATE dead_letters SET closed_at = now(), closed_by = :by, close_reason = :reason WHERE id = :id AND {_FREE}
""")
_RESERVE = text(f"""
    UPDATE dead_letters SET requeue_until = clock_timestamp() + :reserved_for
    WHERE id = :id AND message IS NULL AND {_FREE} RETURNING task, arguments
""")
_RELEASE = text("UPDATE dead_letters SET requeue_until = NULL WHERE id = :id AND requeued_at IS NULL")
_REQUEUE = text("""
    UPDATE dead_letters SET requeued_at = now(), requeued_by = :by
    WHERE id = :id AND requeued_at IS NULL AND closed_at IS NULL
    RETURNING id, task, arguments, entity_id, requeued_at
""")
_KNOWN = text("SELECT requeued_at, closed_at, message FROM dead_letters WHERE id = :id")
_SHOWN = [column for column in DeadLetter.__table__.columns if column.name != "requeue_until"]
_OPEN = and_(DeadLetter.requeued_at.is_(None), DeadLetter.closed_at.is_(None))

PROCESSING, REQUEUE = PaymentStatus.PROCESSING, PaymentRemark.REQUEUE
"""The status and the event of a requeue. Refunds have the same values as payments."""

LEASED = (PAYMENT, REFUND)
"""The entities that workers process under a lease, and quarantine if they crash their worker repeatedly."""


async def store_dead_letter(
    task: str,
    *,
    task_id: str | None,
    arguments: Any,
    deliveries: int,
    reason: str,
    traceback: str,
    message: str | None = None,
) -> None:
    """Store a task's message with the reason why the task could not be run.

    Every message becomes a letter. Arguments that cannot be stored as they are, or that contain card data, are stored as text
    without card data, and such a letter cannot be requeued.
    """
    if not is_storable(arguments):
        arguments, message = [], message or _describe_arguments(arguments)
    texts = {"task": task, "task_id": task_id, "reason": reason, "traceback": traceback, "message": message}
    row: dict[str, Any] = {
        "id": new_id("dead_letter"),
        "arguments": rows_parameter(arguments),
        "deliveries": deliveries,
    }
    row |= {
        name: value if value is None else storable_text(value, most=MAX_CHARACTERS[name])
        for name, value in texts.items()
    }
    async with transaction(Role.WORKER) as connection:
        await connection.execute(_STORE, row)


def is_storable(arguments: Any) -> bool:
    """Return whether PostgreSQL accepts these arguments as they are, and they contain no card data."""
    try:
        written = rows_parameter(arguments)
        return len(written) <= MAX_ARGUMENT_CHARACTERS and "\\u0000" not in written and not find_card_data(arguments)
    except (
        TypeError,
        ValueError,
        RecursionError,
    ):  # values that JSON can express and orjson cannot: huge integers, half of a surrogate pair
        return False


def storable_text(value: str, *, most: int) -> str:
    """Return ``value`` as text PostgreSQL accepts, with masked card numbers, cut to ``most`` characters."""
    longer = value[: 2 * most]  # so that a card number across the cut is masked completely
    valid = longer.encode(errors="replace").decode().replace("\x00", "\ufffd")
    return mask_digits(valid)[:most]


def _describe_arguments(arguments: Any) -> str:
    """Describe arguments that cannot be requeued. If they contain card data, say only where it is."""
    try:
        paths = find_card_data(arguments)
        written = json.dumps(arguments, default=str)
    except (ValueError, RecursionError):
        return "Arguments that are nested too deep to be stored"
    return f"Withheld, because it holds card data in {', '.join(paths)}" if paths else f"arguments: {written}"


async def list_dead_letters(
    *, caller: Caller, limit: int, before: str | None, is_open: bool | None = None
) -> list[dict[str, Any]]:
    """Return up to ``limit`` dead letters, newest first, older than the id ``before``.

    ``is_open`` selects open letters (``True``), requeued or closed ones (``False``) or all (``None``).
    """
    wanted = select(*_SHOWN)
    if is_open is not None:
        wanted = wanted.where(_OPEN if is_open else not_(_OPEN))
    async with caller_transaction(caller) as connection:
        return await page_of(connection, wanted, by=DeadLetter.id, limit=limit, before=before)


async def close_dead_letter(letter_id: str, *, reason: str, caller: Caller) -> dict[str, Any]:
    """Close a letter that is not to be requeued, and return it. Repeating the call changes nothing.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (requeued, or closed for another reason).
    """
    async with caller_transaction(caller) as connection:
        await connection.execute(_CLOSE, {"id": letter_id, "by": caller.id, "reason": reason})
        found = await connection.execute(select(*_SHOWN).where(DeadLetter.id == letter_id))
        letter = found.mappings().one_or_none()
    if letter is None:
        raise ResourceNotFound()
    if letter["close_reason"] != reason:
        raise InvalidStatusTransition(already_closed_detail(letter["requeued_at"], letter["closed_at"]))
    return dict(letter)


def already_closed_detail(requeued_at: datetime | None, closed_at: datetime | None) -> Detail:
    """Return the error detail for a letter that is requeued, closed or being requeued."""
    if requeued_at is None and closed_at is None:
        return Detail("requeued_at", "Another request is requeuing this letter; look at it again in a minute")
    if requeued_at is not None:
        return Detail("requeued_at", f"This letter was requeued at {requeued_at:%FT%TZ}")
    return Detail("closed_at", f"This letter was closed at {closed_at:%FT%TZ}")


@dataclass(frozen=True, slots=True)
class TaskCall:
    """A task name with its arguments, to be published."""

    task: str
    arguments: list[Any]


Publish = Callable[[str, list[Any]], Awaitable[None]]
"""A function that publishes a task's message. Raises ``ServiceUnavailable`` if the broker is unreachable."""


async def requeue_dead_letter(letter_id: str, *, publish: Publish, caller: Caller, request_id: str) -> TaskCall:
    """Publish the task of an open dead letter again, mark the letter as requeued, and return the task.

    Of two concurrent requests, one is refused. Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (requeued or closed
    already, or by another request just now) and ``ServiceUnavailable`` (nothing was done).
    """
    async with caller_transaction(caller) as connection:
        found = await _reserve(connection, letter_id)
    try:
        await publish(found.task, found.arguments)
    except BaseException:
        async with caller_transaction(caller) as connection:
            await connection.execute(_RELEASE, {"id": letter_id})
        raise
    async with caller_transaction(caller) as connection:
        letter = (await connection.execute(_REQUEUE, {"id": letter_id, "by": caller.id})).mappings().one_or_none()
        if letter is None:  # publishing took longer than the reservation, and another request has requeued or closed it
            raise await _refusal(connection, letter_id)
        machine = next((candidate for candidate in LEASED if letter["task"] == f"{candidate.name}s.process"), None)
        if machine and letter["entity_id"]:
            by = ChangeContext.caller(caller, at=letter["requeued_at"], request_id=request_id)
            await _make_due(connection, machine, letter["entity_id"], by)
    return found


async def _reserve(connection: AsyncConnection, letter_id: str) -> TaskCall:
    """Reserve an open letter and return its task.

    Raises ``ResourceNotFound`` and ``InvalidStatusTransition``.
    """
    parameters = {"id": letter_id, "reserved_for": RESERVED_FOR}
    reserved = (await connection.execute(_RESERVE, parameters)).one_or_none()
    if reserved is None:
        raise await _refusal(connection, letter_id)
    return TaskCall(reserved.task, reserved.arguments)


async def _refusal(connection: AsyncConnection, letter_id: str) -> ResourceNotFound | InvalidStatusTransition:
    """Return the error for a letter that can't be requeued now."""
    known = (await connection.execute(_KNOWN, {"id": letter_id})).one_or_none()
    if known is None:
        return ResourceNotFound()
    if known.message is not None and known.closed_at is None:
        return InvalidStatusTransition(
            Detail("message", "No task can be made of this message; close the letter instead")
        )
    return InvalidStatusTransition(already_closed_detail(known.requeued_at, known.closed_at))


async def _make_due(connection: AsyncConnection, machine: StateMachine, entity_id: str, by: ChangeContext) -> None:
    """Make a quarantined row due, unless it has become final in the meantime."""
    found = await connection.execute(text(f"SELECT status FROM {machine.name}s WHERE id = :id"), {"id": entity_id})
    if found.scalar() == PROCESSING:
        changes = {"due_at": by.at, "unanswered_claims": 0}
        await apply(connection, machine, entity_id=entity_id, event=REQUEUE, by=by, changes=changes)
