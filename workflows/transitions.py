"""Change the status of a single row with ``apply``, the only function that does so.

It locks the row, reads the next status from the entity's machine, writes it with a new version, and appends the history row,
all in the caller's transaction. Statements that change many rows at once are in the packages of their entities (payments,
refunds, orders, bills, devices, settlements); tests/unit/test_conventions.py lists them all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import TextClause, text

from workflows.database.connection import Connection
from workflows.database.metrics_buffer import FINAL, note_final
from workflows.errors import Detail, InvalidStatusTransition, ResourceNotFound
from workflows.state_machine import StateMachine
from workflows.tenants.actor import Actor
from workflows.tenants.caller import Caller


@dataclass(frozen=True, slots=True)
class ChangeContext:
    """The actor, time and reason of a change, as they are written to the history row of the change."""

    caller_type: str
    caller_id: str
    at: datetime
    request_id: str | None = None
    reason: str | None = None

    @classmethod
    def caller(
        cls, caller: Caller, *, at: datetime, request_id: str | None = None, reason: str | None = None
    ) -> "ChangeContext":
        """Return the context of a change that ``caller`` requested."""
        return cls(caller.type, caller.id, at, request_id, reason)

    @classmethod
    def actor(cls, actor: Actor, *, at: datetime, reason: str | None = None) -> "ChangeContext":
        """Return the context of a change that ``actor`` requested or made."""
        return cls(actor.type, actor.id, at, actor.request_id, reason)


EVENT_NAMES_IN_API: Mapping[str, str] = {"fulfil": "complete"}
"""Event → the name of its route, if it differs. Error messages use the name of the route."""

OPEN = frozenset({"pending", "processing"})
"""The statuses of a payment that is not final."""

REFUSAL_PHRASES: Mapping[str, str] = {
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
"""Event → its words in the message of a refusal. Any other event is named as it is."""


def invalid_transition_error(machine: StateMachine, status: str, event: str) -> InvalidStatusTransition:
    """Return the error for an event that is not possible in ``status``. It lists the possible events.

    ``event`` may also be a phrase, such as "be paid".
    """
    names = [EVENT_NAMES_IN_API.get(name, name) for name in machine.possible(status)]
    possible = ", ".join(names) or "nothing, this status is final"
    return InvalidStatusTransition(
        Detail("status", f"The {machine.name} is {status}; possible: {possible}"),
        message=f"This {machine.name} is {status} and cannot {REFUSAL_PHRASES.get(event, event.replace('_', ' '))}",
    )


# The statements are made once each, because a connection of the hot path prepares every new one.
@cache
def _lock_statement(table: str) -> TextClause:
    return text(f"SELECT status FROM {table} WHERE id = :id FOR UPDATE")


@cache
def _update_statement(table: str, columns: tuple[str, ...]) -> TextClause:
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    return text(f"UPDATE {table} SET {assignments}, version = version + 1 WHERE id = :id RETURNING *")


@cache
def _history_statement(name: str) -> TextClause:
    return text(f"""
        INSERT INTO {name}_history ({name}_id, version, merchant_id, store_id, event, from_status, to_status, at,
                                    caller_type, caller_id, reason, request_id)
        VALUES (:id, :version, :merchant_id, :store_id, :event, :source, :target, :at,
                :caller_type, :caller_id, :reason, :request_id)
    """)


async def apply(
    connection: Connection,
    machine: StateMachine,
    *,
    entity_id: str,
    event: str,
    by: ChangeContext,
    changes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Apply ``event`` (a transition or a remark) to a row, and return the changed row.

    ``changes`` are the new values of further columns. Raises ``ResourceNotFound`` if the transaction cannot see the row, and
    ``InvalidStatusTransition`` if the event is not possible in its status.
    """
    table = f"{machine.name}s"
    source = (await connection.execute(_lock_statement(table), {"id": entity_id})).scalar()
    if source is None:
        raise ResourceNotFound()
    target = source if event in machine.remarks else machine.target(source, event)
    if target is None:
        raise invalid_transition_error(machine, source, event)
    columns = {**(changes or {}), "status": str(target)}
    updated = await connection.execute(_update_statement(table, tuple(columns)), {**columns, "id": entity_id})
    row = dict(updated.mappings().one())
    await append_history(connection, machine, row, event=event, source=source, by=by)
    if machine.name == "payment" and source in OPEN and row["status"] in FINAL:
        _note_final(connection, row, by)
    return row


def _note_final(connection: Connection, row: dict[str, Any], by: ChangeContext) -> None:
    """Count, for the metrics, a payment that became final without an answer of a provider."""
    note_final(
        connection,
        "payment",
        method=row["method_type"],
        provider=row["provider"],
        status=row["status"],
        code=row["failure_code"],
        seconds=(by.at - row["created_at"]).total_seconds(),
    )


async def append_history(
    connection: Connection,
    machine: StateMachine,
    row: Mapping[str, Any],
    *,
    event: str,
    source: str | None,
    by: ChangeContext,
) -> None:
    """Write the history row for the present version of ``row``.

    ``source`` is the status before the event, or ``None`` if the row was created.
    """
    name = machine.name
    await connection.execute(
        _history_statement(name),
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
