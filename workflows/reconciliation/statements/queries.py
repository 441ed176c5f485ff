"""Reading statements."""

from typing import Any

from sqlalchemy import select

from workflows.reconciliation.statements.models import Statement
from workflows.tenants.actor import Hand
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.query_helpers import page_of


async def list_statements(settlement_id: str, *, caller: Caller) -> list[dict[str, Any]]:
    """The last hundred statements of a settlement, newest first. Raises ``ResourceNotFound``."""
    statement = select(Statement.__table__).where(Statement.settlement_id == settlement_id)
    async with caller_transaction(caller) as connection:
        await Hand(caller).look_at(connection, settlement_id)
        return await page_of(connection, statement, by=Statement.number, limit=100)
