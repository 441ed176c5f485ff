"""Read and lock devices, and turn them into the fields of a terminal, as the contract calls a device."""

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.devices.models import Device, DeviceRow
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.query_helpers import one_row
from workflows.tenants.scope import visible_to
from workflows.tenants.walk import Walk, read_page, stores_named

FIELDS = (
    "id",
    "merchant_id",
    "store_id",
    "serial_number",
    "name",
    "model",
    "status",
    "version",
    "client_id",
    "created_at",
    "activated_at",
    "suspended_at",
    "deactivated_at",
    "last_connected_at",
)


async def read_device(device_id: str, *, caller: Caller) -> DeviceRow:
    """Return the row of a device. Raises ``ResourceNotFound``."""
    async with caller_transaction(caller) as connection:
        return cast(DeviceRow, await one_row(connection, _select_device(device_id, caller)))


async def lock_device(connection: AsyncConnection, device_id: str, caller: Caller) -> DeviceRow:
    """Lock the row of a device and return it. Raises ``ResourceNotFound``."""
    return cast(DeviceRow, await one_row(connection, _select_device(device_id, caller).with_for_update()))


async def list_devices(
    *, store_id: str | None, status: str | None, caller: Caller, limit: int, before: str | None
) -> list[DeviceRow]:
    """List up to ``limit`` devices, newest first, older than the id ``before``."""
    conditions = [Device.status == status] if status else []
    walk = Walk(model=Device, caller=caller, conditions=conditions, stores=stores_named(store_id, caller))
    async with caller_transaction(caller) as connection:
        return cast(list[DeviceRow], await read_page(connection, walk, limit=limit, before=before))


def device_fields(row: DeviceRow) -> dict[str, Any]:
    """Return a device as the contract's fields."""
    values: Mapping[str, object] = row
    return {name: values[name] for name in FIELDS}


def _select_device(device_id: str, caller: Caller) -> Select[Any]:
    return select(Device.__table__).where(
        Device.id == device_id, *visible_to(caller, Device.merchant_id, Device.store_id)
    )
