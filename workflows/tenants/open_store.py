"""Open a store of a merchant."""

from dataclasses import dataclass
from datetime import time
from typing import Any

from sqlalchemy import func, insert, select

from workflows.errors import Detail, InvalidRequest, ResourceNotFound
from workflows.ids import new_id
from workflows.tenants.caller import Caller, Scope, caller_transaction
from workflows.tenants.models import Merchant, Store
from workflows.tenants.scope import visible_to

MIDNIGHT = time(0, 0)


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A store to be. ``cut_off`` is the local time at which its business day ends."""

    name: str
    currency: str = "JPY"
    time_zone: str = "Asia/Tokyo"
    cut_off: time = MIDNIGHT


async def open_store(request: StoreRequest, *, merchant_id: str | None, caller: Caller) -> dict[str, Any]:
    """A new store's row. ``merchant_id`` may be left out by a merchant's admin, who has no other.

    Raises ``InvalidRequest`` where a caller above the merchants names none, ``ResourceNotFound`` where the merchant is
    not within the caller's tenant.
    """
    owner = _owner(merchant_id, caller)
    row = {
        "id": new_id("store"),
        "merchant_id": owner,
        "name": request.name,
        "currency": request.currency,
        "time_zone": request.time_zone,
        "cut_off": request.cut_off,
        "created_at": func.now(),  # the database's clock: the store's first period is the day of this instant
        "updated_at": func.now(),
    }
    seen = select(Merchant.id).where(Merchant.id == owner, *visible_to(caller, Merchant.id))
    async with caller_transaction(caller) as connection:
        if (await connection.execute(seen)).scalar() is None:
            raise ResourceNotFound(Detail("merchant_id", "There is no such merchant"))
        made = await connection.execute(insert(Store).values(row).returning(*Store.__table__.columns))
        return dict(made.mappings().one())


def _owner(merchant_id: str | None, caller: Caller) -> str:
    owner = merchant_id or caller.merchant_id
    if not owner:
        raise InvalidRequest(Detail("merchant_id", "Say for which merchant this is"))
    if caller.scope is Scope.STORE:  # no route lets one come so far
        raise ResourceNotFound(Detail("merchant_id", "There is no such merchant"))
    return owner
