"""Suspend, resume and deactivate a device.

| verb       | effect                                                                                              |
|------------|-----------------------------------------------------------------------------------------------------|
| suspend    | the device's next request is refused although its tokens have not expired, because every transaction  |
|            | reads the status                                                                                      |
| resume     | the device may call again with the key it has. ``suspended_at`` keeps the time of the last suspension |
| deactivate | final: the device can never call again, and an unused activation code no longer works                 |
"""

from typing import cast

from sqlalchemy import func, select

from workflows.devices.models import DeviceRow
from workflows.devices.queries import lock_device
from workflows.devices.states import DEVICE, DeviceEvent
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import ChangeContext, apply


async def suspend_device(device_id: str, *, caller: Caller, reason: str | None, request_id: str) -> DeviceRow:
    """Suspend a device and return its row. Raises ``ResourceNotFound``, ``InvalidStatusTransition``."""
    return await _change_status(
        device_id, DeviceEvent.SUSPEND, stamp="suspended_at", caller=caller, reason=reason, request_id=request_id
    )


async def resume_device(device_id: str, *, caller: Caller, reason: str | None, request_id: str) -> DeviceRow:
    """Resume a suspended device and return its row.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition``.
    """
    return await _change_status(
        device_id, DeviceEvent.RESUME, stamp=None, caller=caller, reason=reason, request_id=request_id
    )


async def deactivate_device(device_id: str, *, caller: Caller, reason: str | None, request_id: str) -> DeviceRow:
    """Deactivate a device permanently and return its row.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition``.
    """
    return await _change_status(
        device_id, DeviceEvent.DEACTIVATE, stamp="deactivated_at", caller=caller, reason=reason, request_id=request_id
    )


async def _change_status(
    device_id: str, event: DeviceEvent, *, stamp: str | None, caller: Caller, reason: str | None, request_id: str
) -> DeviceRow:
    """Apply ``event``. ``stamp`` is the column that stores the time of the change, or ``None``."""
    async with caller_transaction(caller) as connection:
        await lock_device(
            connection, device_id, caller
        )  # it filters by tenant, while apply() relies on row-level security alone
        # Not now(): the transaction may have waited for the lock, and times must not decrease between versions (I14).
        at = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
        by = ChangeContext.caller(caller, at=at, request_id=request_id, reason=reason)
        changes = {stamp: at} if stamp else {}
        row = await apply(connection, DEVICE, entity_id=device_id, event=event, by=by, changes=changes)
    return cast(DeviceRow, row)
