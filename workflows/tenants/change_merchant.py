"""Change a merchant."""

from typing import Any

from sqlalchemy import func, update

from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.models import Merchant
from workflows.tenants.query_helpers import one_row
from workflows.tenants.scope import visible_to


async def change_merchant(merchant_id: str, changes: dict[str, Any], *, caller: Caller) -> dict[str, Any]:
    """The merchant's row with ``changes`` (columns and their new values) made. Raises ``ResourceNotFound``."""
    statement = (
        update(Merchant)
        .where(Merchant.id == merchant_id, *visible_to(caller, Merchant.id))
        .values(**changes, updated_at=func.now())
        .returning(*Merchant.__table__.columns)
    )
    async with caller_transaction(caller) as connection:
        return await one_row(connection, statement)
