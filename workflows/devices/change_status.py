"""What suspend, resume and deactivate have in common: see the device, apply the event, keep the instant."""

from typing import Any

from sqlalchemy import func, select

from workflows.devices.queries import lock_device
from workflows.devices.states import DEVICE, DeviceEvent
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import ChangeContext, apply


async def move_device(
    device_id: str, event: DeviceEvent, *, stamp: str | None, caller: Caller, reason: str | None, request_id: str
) -> dict[str, Any]:
    """The device's row after ``event``; ``stamp`` is the column that keeps when. Raises as ``apply`` does."""
    async with caller_transaction(caller) as connection:
        await lock_device(connection, device_id, caller)  # the query's own wall, before the row is touched
        # Not now(): that is when the transaction began, perhaps before a change whose lock was waited for (I14).
        at = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
        by = ChangeContext.caller(caller, at=at, request_id=request_id, reason=reason)
        changes = {stamp: at} if stamp else {}
        return await apply(connection, DEVICE, entity_id=device_id, event=event, by=by, changes=changes)
