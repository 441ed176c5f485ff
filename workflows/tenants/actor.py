"""Define the actor of an operation: an API caller with its scope, or a worker.

Both may receive statements and reconcile settlements. All differences between the two are in this module.
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
    """An API caller or, if ``caller`` is ``None``, the worker named ``worker``."""

    caller: Caller | None = None
    worker: str = "worker"
    request_id: str | None = None

    @property
    def id(self) -> str:
        """The actor's id, for history rows and for columns that end in ``_by``."""
        return self.caller.id if self.caller else self.worker

    @property
    def type(self) -> str:
        """``device``, ``user`` or ``worker``: the ``caller_type`` of history rows."""
        return self.caller.type if self.caller else "worker"

    def transaction(self, *, is_long: bool = False) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction with the rights of this actor. ``is_long`` is that of ``engines.transaction``."""
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
