"""Onboard many devices at once: register and activate them with keys that the operator already holds.

For ``mpac seed`` and migrations. This is the set-based version of ``register`` and ``activate``: it writes the same two
versions with their history rows, but needs no code. A thousand devices take two statements instead of six thousand.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from workflows.database.engines import rows_parameter
from workflows.errors import NotAuthorized
from workflows.ids import new_id
from workflows.tenants.caller import Caller, Scope, caller_transaction

_REGISTER = text("""
    -- register: every device with its first history row
    WITH device AS (
        INSERT INTO devices (id, merchant_id, store_id, serial_number, name, model, status, version, created_at)
        SELECT i.id, s.merchant_id, s.id, i.serial_number, i.name, i.model, 'pending_activation', 1, now()
        FROM jsonb_to_recordset(CAST(:rows AS jsonb))
            AS i(id text, store_id text, serial_number text, name text, model text)
        JOIN stores s ON s.id = i.store_id
        RETURNING id, merchant_id, store_id
    )
    INSERT INTO device_history (device_id, version, merchant_id, store_id, event, to_status, at, caller_type, caller_id)
    SELECT id, 1, merchant_id, store_id, 'create', 'pending_activation', now(), 'user', :caller_id FROM device
""")
_ACTIVATE = text("""
    -- activate: every device with its key, and its second history row
    WITH device AS (
        UPDATE devices SET status = 'active', version = 2, client_id = i.client_id, public_key_pem = i.public_key_pem,
            activated_at = now()
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(id text, client_id text, public_key_pem text)
        WHERE devices.id = i.id AND devices.status = 'pending_activation'
        RETURNING devices.id, merchant_id, store_id
    )
    INSERT INTO device_history (device_id, version, merchant_id, store_id, event, from_status, to_status, at, caller_type,
                                caller_id)
    SELECT id, 2, merchant_id, store_id, 'activate', 'pending_activation', 'active', now(), 'user', :caller_id FROM device
""")


@dataclass(frozen=True, slots=True)
class DeviceOnboarding:
    """A device to onboard.

    ``public_key_pem`` is an EC P-256 key in canonical spelling (``canonical_key``).
    """

    store_id: str
    serial_number: str
    name: str
    model: str
    public_key_pem: str


async def onboard_devices(enrolments: list[DeviceOnboarding], *, caller: Caller) -> list[dict[str, Any]]:
    """Onboard devices and return ``device_id``, ``client_id`` and ``store_id`` of each, in the same order.

    They are ``active``. Raises ``NotAuthorized`` unless the caller is a system operator.
    """
    if caller.scope is not Scope.SYSTEM:
        raise NotAuthorized(message="Only a system operator may onboard devices without activation codes")
    rows = [
        {
            "id": new_id("device"),
            "client_id": new_id("client"),
            "store_id": enrolment.store_id,
            "serial_number": enrolment.serial_number,
            "name": enrolment.name,
            "model": enrolment.model,
            "public_key_pem": enrolment.public_key_pem,
        }
        for enrolment in enrolments
    ]
    parameters = {"rows": rows_parameter(rows), "caller_id": caller.id}
    async with caller_transaction(caller) as connection:
        await connection.execute(_REGISTER, parameters)
        await connection.execute(_ACTIVATE, parameters)
    return [{"device_id": row["id"], "client_id": row["client_id"], "store_id": row["store_id"]} for row in rows]
