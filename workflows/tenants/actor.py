"""The actor of an operation: an API caller within its scope, or a worker.

Statements are received and settlements are reconciled on behalf of both. Everything that differs between the two is here.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import Role, transaction
from workflows.errors import ResourceNotFound
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.scope import visible_to


@dataclass(frozen=True, slots=True)
class Actor:
    """An API caller, or the worker named ``worker`` if there is no caller."""

    caller: Caller | None = None
    worker: str = "worker"
    request_id: str | None = None

    @property
    def id(self) -> str:
        """The id for columns that end in ``_by``."""
        return self.caller.id if self.caller else self.worker

    @property
    def type(self) -> str:
        """``device``, ``user`` or ``worker``: the ``caller_type`` of history rows."""
        return self.caller.type if self.caller else "worker"

    def transaction(self, *, is_long: bool = False) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction with this actor's rights; ``is_long`` as for ``transaction``."""
        if self.caller:
            return caller_transaction(self.caller, is_long=is_long)
        return transaction(Role.WORKER, is_long=is_long)

    async def require_visible(self, connection: AsyncConnection, model: Any, entity_id: str) -> None:
        """Raise ``ResourceNotFound`` unless this actor may see the row ``entity_id`` of ``model``.

        ``model`` is a mapped class with ``id``, ``merchant_id`` and ``store_id``. A worker may see every row.
        """
        conditions = visible_to(self.caller, model.merchant_id, model.store_id) if self.caller else []
        statement = select(model.id).where(model.id == entity_id, *conditions)
        if (await connection.execute(statement)).one_or_none() is None:
            raise ResourceNotFound()
