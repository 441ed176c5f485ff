"""Register a device, or onboard many devices at once whose keys the operator already has.

A registered device has a serial number but no key, so it cannot call until it is activated (``activation``). Onboarding is for
``mpac seed`` and migrations. It writes the same two versions and history rows per device as registering and activating it, but
needs no codes: a thousand devices take two statements instead of six thousand.
"""

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import func, insert, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import rows_parameter, violated_constraint
from workflows.devices.models import Device, DeviceRow
from workflows.devices.states import DEVICE
from workflows.errors import Detail, DuplicateResource, InvalidRequest, NotAuthorized, ResourceNotFound
from workflows.ids import new_id
from workflows.tenants.caller import Caller, Scope, caller_transaction
from workflows.tenants.models import StoreRow
from workflows.tenants.stores import one_store
from workflows.transitions import ChangeContext, append_history


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A device to register. ``store_id`` is needed only if the caller has no store of its own."""

    serial_number: str
    name: str
    model: str
    store_id: str | None = None


_REGISTER = text("""
    -- register: each device with its first history row
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
    -- activate: each device with its key and its second history row
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

    ``public_key_pem`` is a public EC P-256 key as ``canonical_key`` spells it.
    """

    store_id: str
    serial_number: str
    name: str
    model: str
    public_key_pem: str


async def register_device(request: DeviceRequest, *, caller: Caller, request_id: str) -> DeviceRow:
    """Register a device and return its row, ``pending_activation``.

    Raises ``InvalidRequest`` if neither the request nor the caller has a store, ``ResourceNotFound`` if the caller may not see
    the store, ``DuplicateResource`` if a device of any tenant has the serial number and is not deactivated.
    """
    store_id = request.store_id or caller.store_id
    if not store_id:
        raise InvalidRequest(Detail("store_id", "Name the store"))
    try:
        async with caller_transaction(caller) as connection:
            store = await _store(connection, store_id, caller)
            inserted = insert(Device).values(_row(request, store)).returning(*Device.__table__.columns)
            row = dict((await connection.execute(inserted)).mappings().one())
            by = ChangeContext.caller(caller, at=row["created_at"], request_id=request_id)
            await append_history(connection, DEVICE, row, event="create", source=None, by=by)
    except IntegrityError as error:
        if violated_constraint(error) != "devices_serial_number_key":
            raise  # untested: a new row violates no other constraint
        taken = "A device with this serial number is in use; deactivate it first"
        raise DuplicateResource(Detail("serial_number", taken)) from error
    return cast(DeviceRow, row)


async def onboard_devices(devices: list[DeviceOnboarding], *, caller: Caller) -> list[dict[str, Any]]:
    """Onboard devices and return ``device_id``, ``client_id`` and ``store_id`` of each, in the same order.

    The devices are ``active`` then. Raises ``NotAuthorized`` unless the caller is a system operator.
    """
    if caller.scope is not Scope.SYSTEM:
        raise NotAuthorized(message="Only a system operator may onboard devices without activation codes")
    rows = [
        {
            "id": new_id("device"),
            "client_id": new_id("client"),
            "store_id": device.store_id,
            "serial_number": device.serial_number,
            "name": device.name,
            "model": device.model,
            "public_key_pem": device.public_key_pem,
        }
        for device in devices
    ]
    parameters = {"rows": rows_parameter(rows), "caller_id": caller.id}
    async with caller_transaction(caller) as connection:
        await connection.execute(_REGISTER, parameters)
        await connection.execute(_ACTIVATE, parameters)
    return [{"device_id": row["id"], "client_id": row["client_id"], "store_id": row["store_id"]} for row in rows]


async def _store(connection: AsyncConnection, store_id: str, caller: Caller) -> StoreRow:
    try:
        return await one_store(connection, store_id, caller)
    except ResourceNotFound:
        raise ResourceNotFound(Detail("store_id", "There is no such store")) from None


def _row(request: DeviceRequest, store: StoreRow) -> dict[str, Any]:
    return {
        "id": new_id("device"),
        "merchant_id": store["merchant_id"],
        "store_id": store["id"],
        "serial_number": request.serial_number,
        "name": request.name,
        "model": request.model,
        "status": str(DEVICE.initial[0]),
        "version": 1,
        "created_at": func.now(),
    }
