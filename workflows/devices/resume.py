"""Resume a suspended device: it may call again, with the key it has. ``suspended_at`` goes on saying when it last was."""

from typing import Any

from workflows.devices.change_status import move_device
from workflows.devices.states import DeviceEvent
from workflows.tenants.caller import Caller


async def resume_device(device_id: str, *, caller: Caller, reason: str | None, request_id: str) -> dict[str, Any]:
    """The device's row, ``active``. Raises ``ResourceNotFound``, ``InvalidStatusTransition``."""
    return await move_device(
        device_id, DeviceEvent.RESUME, stamp=None, caller=caller, reason=reason, request_id=request_id
    )
