"""Change a store: its name, its currency, where its business day ends.

What was sold keeps the currency it was sold in; a new time zone or cut-off decides the periods that begin after it.
"""

from typing import Any

from sqlalchemy import func, update

from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.models import Store
from workflows.tenants.query_helpers import one_row
from workflows.tenants.scope import visible_to


async def change_store(store_id: str, changes: dict[str, Any], *, caller: Caller) -> dict[str, Any]:
    """The store's row with ``changes`` (columns and their new values) made. Raises ``ResourceNotFound``."""
    statement = (
        update(Store)
        .where(Store.id == store_id, *visible_to(caller, Store.merchant_id, Store.id))
        .values(**changes, updated_at=func.now())
        .returning(*Store.__table__.columns)
    )
    async with caller_transaction(caller) as connection:
        return await one_row(connection, statement)
