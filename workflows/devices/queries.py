"""Reading devices: one, many, and one that is about to change."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.devices.models import Device
from workflows.errors import ResourceNotFound
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.scope import within


async def read_device(device_id: str, *, caller: Caller) -> dict[str, Any]:
    """The device's row. Raises ``ResourceNotFound``."""
    async with caller_transaction(caller) as connection:
        return await _one(connection, device_id, caller, lock=False)


async def lock_device(connection: AsyncConnection, device_id: str, caller: Caller) -> dict[str, Any]:
    """The device's row, locked until the transaction ends. Raises ``ResourceNotFound``."""
    return await _one(connection, device_id, caller, lock=True)


async def list_devices(
    *, store_id: str | None, status: str | None, caller: Caller, limit: int, before: str | None
) -> list[dict[str, Any]]:
    """Up to ``limit`` devices, newest first, older than the id ``before``."""
    conditions = within(caller, Device.merchant_id, Device.store_id)
    if store_id:
        conditions.append(Device.store_id == store_id)
    if status:
        conditions.append(Device.status == status)
    if before:
        conditions.append(Device.id < before)
    statement = select(Device.__table__).where(*conditions).order_by(Device.id.desc()).limit(limit)
    async with caller_transaction(caller) as connection:
        return [dict(row) for row in (await connection.execute(statement)).mappings()]


async def _one(connection: AsyncConnection, device_id: str, caller: Caller, *, lock: bool) -> dict[str, Any]:
    conditions = within(caller, Device.merchant_id, Device.store_id)
    statement = select(Device.__table__).where(Device.id == device_id, *conditions)
    row = (await connection.execute(statement.with_for_update() if lock else statement)).mappings().one_or_none()
    if row is None:
        raise ResourceNotFound()
    return dict(row)
