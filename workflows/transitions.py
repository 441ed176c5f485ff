"""``apply``: the one door to a status, for a single row.

It locks the row, asks the entity's machine for the next status, writes it with a new version, and appends the history
row, all in the caller's transaction. What changes many rows at once has a set-based twin of it beside the entity
(payments, refunds, orders, bills, devices, settlements); tests/unit/test_conventions.py names them all (``DOORS``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.metric_counts import FINAL, outcome_written
from workflows.errors import Detail, InvalidStatusTransition, ResourceNotFound
from workflows.state_machine import StateMachine
from workflows.tenants.actor import Actor
from workflows.tenants.caller import Caller


@dataclass(frozen=True, slots=True)
class ChangeContext:
    """Who made a transition, when and why: the rest of a history row."""

    caller_type: str
    caller_id: str
    at: datetime
    request_id: str | None = None
    reason: str | None = None

    @classmethod
    def caller(
        cls, caller: Caller, *, at: datetime, request_id: str | None = None, reason: str | None = None
    ) -> "ChangeContext":
        """A transition that ``caller`` asked for."""
        return cls(caller.type, caller.id, at, request_id, reason)

    @classmethod
    def actor(cls, actor: Actor, *, at: datetime, reason: str | None = None) -> "ChangeContext":
        """A transition that ``actor`` asked for or made."""
        return cls(actor.type, actor.id, at, actor.request_id, reason)


EVENT_NAMES_IN_API: Mapping[str, str] = {"fulfil": "complete"}
"""Events whose route has another name: who is refused is told in the words that were asked with."""

OPEN = frozenset({"pending", "processing"})
"""Statuses of a payment without an outcome."""

REFUSED: Mapping[str, str] = {
    "submit": "be submitted",
    "fulfil": "be completed",
    "cancel": "be cancelled",
    "change": "be changed",
    "activate": "be activated",
    "suspend": "be suspended",
    "resume": "be resumed",
    "deactivate": "be deactivated",
    "close": "be closed",
    "reconcile": "be reconciled",
    "count_cash": "have its cash counted",
}
"""How a refusal says what was asked for; what has no row here is said as it is."""


def invalid_transition(machine: StateMachine, status: str, event: str) -> InvalidStatusTransition:
    """The error for an event (or in words: "be paid") that ``status`` does not allow; it names what is possible."""
    words = [EVENT_NAMES_IN_API.get(word, word) for word in machine.possible(status)]
    possible = ", ".join(words) or "nothing, this status is final"
    return InvalidStatusTransition(
        Detail("status", f"The {machine.name} is {status}; possible: {possible}"),
        message=f"This {machine.name} is {status} and cannot {REFUSED.get(event, event.replace('_', ' '))}",
    )


async def apply(
    connection: AsyncConnection,
    machine: StateMachine,
    *,
    entity_id: str,
    event: str,
    by: ChangeContext,
    changes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Move one row by ``event`` (an edge or a remark) and return it as it is now.

    ``changes`` are further columns to set. Raises ``ResourceNotFound`` where the transaction cannot see the row, and
    ``InvalidStatusTransition`` where its status has no such edge.
    """
    table = f"{machine.name}s"
    locked = text(f"SELECT status FROM {table} WHERE id = :id FOR UPDATE")
    source = (await connection.execute(locked, {"id": entity_id})).scalar()
    if source is None:
        raise ResourceNotFound()
    target = source if event in machine.remarks else machine.target(source, event)
    if target is None:
        raise invalid_transition(machine, source, event)
    columns = {**(changes or {}), "status": str(target)}
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    moved = await connection.execute(
        text(f"UPDATE {table} SET {assignments}, version = version + 1 WHERE id = :id RETURNING *"),
        {**columns, "id": entity_id},
    )
    row = dict(moved.mappings().one())
    await append_history(connection, machine, row, event=event, source=source, by=by)
    if machine.name == "payment" and source in OPEN and row["status"] in FINAL:
        _tally_outcome(connection, row, by)
    return row


def _tally_outcome(connection: AsyncConnection, row: dict[str, Any], by: ChangeContext) -> None:
    """Note that a payment became final without a provider's answer, for the metrics."""
    outcome_written(
        connection,
        "payment",
        method=row["method_type"],
        provider=row["provider"],
        status=row["status"],
        code=row["failure_code"],
        seconds=(by.at - row["created_at"]).total_seconds(),
    )


async def append_history(
    connection: AsyncConnection,
    machine: StateMachine,
    row: Mapping[str, Any],
    *,
    event: str,
    source: str | None,
    by: ChangeContext,
) -> None:
    """Write the history row of ``row``'s present version; ``source`` is ``None`` for its creation."""
    name = machine.name
    await connection.execute(
        text(f"""
            INSERT INTO {name}_history ({name}_id, version, merchant_id, store_id, event, from_status, to_status, at,
                                        caller_type, caller_id, reason, request_id)
            VALUES (:id, :version, :merchant_id, :store_id, :event, :source, :target, :at,
                    :caller_type, :caller_id, :reason, :request_id)
        """),
        {
            "id": row["id"],
            "version": row["version"],
            "merchant_id": row["merchant_id"],
            "store_id": row["store_id"],
            "event": event,
            "source": source,
            "target": row["status"],
            "at": by.at,
            "caller_type": by.caller_type,
            "caller_id": by.caller_id,
            "reason": by.reason,
            "request_id": by.request_id,
        },
    )
