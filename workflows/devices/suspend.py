"""Suspend a device: its very next request is refused, although its tokens are unexpired (every transaction asks)."""

from typing import Any

from workflows.devices.change_status import move_device
from workflows.devices.states import DeviceEvent
from workflows.tenants.caller import Caller


async def suspend_device(device_id: str, *, caller: Caller, reason: str | None, request_id: str) -> dict[str, Any]:
    """The device's row, ``suspended``. Raises ``ResourceNotFound``, ``InvalidStatusTransition``."""
    return await move_device(
        device_id, DeviceEvent.SUSPEND, stamp="suspended_at", caller=caller, reason=reason, request_id=request_id
    )
