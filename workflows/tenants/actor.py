"""Whose doing it is: a caller's, within what it may see, or a worker's, by itself."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import Role, transaction
from workflows.errors import ResourceNotFound
from workflows.settlements.models import Settlement
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.scope import within
from workflows.transitions import ChangeContext


@dataclass(frozen=True, slots=True)
class Actor:
    """Statements and reconciliation are begun by people and by workers alike; this is all that differs."""

    caller: Caller | None = None
    worker: str = "worker"
    request_id: str | None = None

    @property
    def id(self) -> str:
        """Who it is, for columns that end in ``_by``."""
        return self.caller.id if self.caller else self.worker

    def transaction(self, *, is_long: bool = False) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction with the rights of this hand. ``is_long`` as for ``workflows.database.engines.transaction``."""
        if self.caller:
            return caller_transaction(self.caller, is_long=is_long)
        return transaction(Role.WORKER, is_long=is_long)

    def by(self, at: datetime, *, reason: str | None = None) -> ChangeContext:
        """The rest of a history row."""
        if self.caller:
            return ChangeContext.caller(self.caller, at=at, request_id=self.request_id, reason=reason)
        return ChangeContext("worker", self.worker, at, self.request_id, reason)

    async def require_visible(self, connection: AsyncConnection, settlement_id: str) -> None:
        """Raise ``ResourceNotFound`` where this hand may not see the settlement: the first wall."""
        conditions = within(self.caller, Settlement.merchant_id, Settlement.store_id) if self.caller else []
        statement = select(Settlement.id).where(Settlement.id == settlement_id, *conditions)
        if (await connection.execute(statement)).one_or_none() is None:
            raise ResourceNotFound()
