"""Generate an activation code, which replaces the old one and resets its tries.

A device that has a key already can get a code too, because its key may be lost. The code changes nothing until it is used.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text

from workflows.devices.codes import LIFE, hash_code, new_code
from workflows.devices.queries import lock_device
from workflows.devices.states import DEVICE, HAS_KEY, DeviceEvent, DeviceRemark, DeviceStatus
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import ChangeContext, apply, invalid_transition

_STORE = text("""
    -- store: by the database's clock, which also decides later whether the code has expired
    INSERT INTO activation_codes (device_id, code_hash, expires_at, tries, used_at, created_at)
    VALUES (:device_id, :code_hash, now() + :life, 0, NULL, now())
    ON CONFLICT (device_id) DO UPDATE SET code_hash = excluded.code_hash, expires_at = excluded.expires_at, tries = 0,
        used_at = NULL, created_at = excluded.created_at
    RETURNING expires_at
""")


@dataclass(frozen=True, slots=True)
class FreshCode:
    """A code, which is shown only this once, and its expiry."""

    code: str
    expires_at: datetime


async def generate_code(device_id: str, *, caller: Caller, secret: bytes, request_id: str) -> FreshCode:
    """Generate a code for a device and return it.

    Raises ``ResourceNotFound``, and ``InvalidStatusTransition`` if the device is ``deactivated``.
    """
    code = new_code()
    async with caller_transaction(caller) as connection:
        device = await lock_device(connection, device_id, caller)
        if device["status"] == DeviceStatus.DEACTIVATED:
            raise invalid_transition(DEVICE, device["status"], DeviceEvent.ACTIVATE)
        if device["status"] in HAS_KEY:
            # Not now(): the transaction may have begun before a change whose lock it then waited for (I14).
            at = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
            by = ChangeContext.caller(caller, at=at, request_id=request_id)
            await apply(connection, DEVICE, entity_id=device_id, event=DeviceRemark.OFFER_KEY, by=by)
        row = {
            "device_id": device_id,
            "code_hash": hash_code(code, device_id=device_id, secret=secret),
            "life": LIFE,
        }
        expires_at = (await connection.execute(_STORE, row)).scalar_one()
    return FreshCode(code, expires_at)
