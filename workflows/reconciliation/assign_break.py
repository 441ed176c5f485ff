"""Assign: say whose break it is."""

from typing import Any

from sqlalchemy import text

from workflows.reconciliation.queries import one_break
from workflows.tenants.caller import Caller, caller_transaction

_ASSIGN = text("UPDATE breaks SET owner = :owner WHERE id = :id")


async def assign_break(break_id: str, owner: str, *, caller: Caller) -> dict[str, Any]:
    """The break's row with its new owner. Raises ``ResourceNotFound``, ``ServiceUnavailable``."""
    async with caller_transaction(caller) as connection:
        await one_break(connection, break_id, caller)
        await connection.execute(_ASSIGN, {"id": break_id, "owner": owner})
        return await one_break(connection, break_id, caller)
