"""Deactivate a device for ever: nothing leads out of that status, and an activation code it had is worth nothing."""

from typing import Any

from workflows.devices.change_status import move_device
from workflows.devices.states import DeviceEvent
from workflows.tenants.caller import Caller


async def deactivate_device(device_id: str, *, caller: Caller, reason: str | None, request_id: str) -> dict[str, Any]:
    """The device's row, ``deactivated``. Raises ``ResourceNotFound``, ``InvalidStatusTransition``."""
    return await move_device(
        device_id, DeviceEvent.DEACTIVATE, stamp="deactivated_at", caller=caller, reason=reason, request_id=request_id
    )
