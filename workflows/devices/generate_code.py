"""Generate an activation code for a device that waits for one. A new code replaces the old, tries and all."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from workflows.devices.codes import LIFE, hash_code, new_code
from workflows.devices.queries import lock_device
from workflows.devices.states import DEVICE, DeviceEvent, DeviceStatus
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import illegal

_STORE = text("""
    -- store: by the database's clock, which is also the one that judges the code later
    INSERT INTO activation_codes (device_id, code_hash, expires_at, tries, used_at, created_at)
    VALUES (:device_id, :code_hash, now() + :life, 0, NULL, now())
    ON CONFLICT (device_id) DO UPDATE SET code_hash = excluded.code_hash, expires_at = excluded.expires_at, tries = 0,
        used_at = NULL, created_at = excluded.created_at
    RETURNING expires_at
""")


@dataclass(frozen=True, slots=True)
class FreshCode:
    """A code, shown this once, and when it ends."""

    code: str
    expires_at: datetime


async def generate_code(device_id: str, *, caller: Caller, secret: bytes) -> FreshCode:
    """A new code for the device.

    Raises ``ResourceNotFound``, and ``InvalidStatusTransition`` where the device is no longer ``pending_activation``.
    """
    code = new_code()
    async with caller_transaction(caller) as connection:
        device = await lock_device(connection, device_id, caller)
        if device["status"] != DeviceStatus.PENDING_ACTIVATION:
            raise illegal(DEVICE, device["status"], DeviceEvent.ACTIVATE)
        row = {
            "device_id": device_id,
            "code_hash": hash_code(code, device_id=device_id, secret=secret),
            "life": LIFE,
        }
        expires_at = (await connection.execute(_STORE, row)).scalar_one()
    return FreshCode(code, expires_at)
