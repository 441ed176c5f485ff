"""Register a device in a store. It has a serial number but no key yet, so it cannot call."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import violated
from workflows.devices.models import Device
from workflows.devices.states import DEVICE
from workflows.errors import Detail, DuplicateResource, InvalidRequest, ResourceNotFound
from workflows.ids import new_id
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.queries import one_store
from workflows.tenants.rows import StoreRow
from workflows.transitions import ChangeContext, append_history


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A device to register."""

    serial_number: str
    name: str
    model: str
    store_id: str | None = None


async def register_device(request: DeviceRequest, *, caller: Caller, request_id: str) -> dict[str, Any]:
    """Register a device and return its row, ``pending_activation``.

    Raises ``InvalidRequest`` if a caller above the stores names none, ``ResourceNotFound`` if the store is not
    within its tenant, ``DuplicateResource`` if any tenant's device that is not deactivated has the serial number.
    """
    store_id = request.store_id or caller.store_id
    if not store_id:
        raise InvalidRequest(Detail("store_id", "Say for which store this is"))
    try:
        async with caller_transaction(caller) as connection:
            store = await _store(connection, store_id, caller)
            made = insert(Device).values(_row(request, store)).returning(*Device.__table__.columns)
            row = dict((await connection.execute(made)).mappings().one())
            by = ChangeContext.caller(caller, at=row["created_at"], request_id=request_id)
            await append_history(connection, DEVICE, row, event="create", source=None, by=by)
    except IntegrityError as error:
        if violated(error) != "devices_serial_number_key":
            raise
        taken = "A device with this serial number is in use; deactivate it first"
        raise DuplicateResource(Detail("serial_number", taken)) from error
    return row


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
