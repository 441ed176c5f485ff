"""Every transition of the device table works over HTTP; the API and the database refuse all others."""

import asyncio

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.integration.devices.provisioning import Provisioning
from workflows.devices.states import DEVICE, DeviceEvent, DeviceStatus

MOVES = (DeviceEvent.SUSPEND, DeviceEvent.RESUME, DeviceEvent.DEACTIVATE)
STAMPS = {DeviceEvent.SUSPEND: "suspended_at", DeviceEvent.DEACTIVATE: "deactivated_at"}


@pytest.mark.parametrize("event", MOVES)
@pytest.mark.parametrize("status", DeviceStatus)
async def test_an_event_is_applied_to_a_device_only_if_the_table_allows_it(
    provisioning: Provisioning, status: DeviceStatus, event: DeviceEvent
) -> None:
    terminal = await provisioning.in_status(status)
    before = (await provisioning.read(terminal)).body
    assert before["status"] == status
    answer = await provisioning.move(terminal, event, reason="a test")
    target = DEVICE.target(status, event)
    after = (await provisioning.read(terminal)).body
    if target is None:
        assert (answer.status, answer.code) == (409, "INVALID_STATUS_TRANSITION")
        assert status in answer.details[0]["issue"]
        assert all(possible in answer.details[0]["issue"] for possible in DEVICE.possible(status))
        assert after == before
    else:
        assert (answer.status, answer.body["status"]) == (200, target)
        assert after == answer.body
        assert after["version"] == before["version"] + 1
        assert event not in STAMPS or after[STAMPS[event]] is not None


@pytest.mark.parametrize("status", DeviceStatus)
async def test_every_device_except_a_deactivated_device_can_be_activated_with_a_code(
    provisioning: Provisioning, status: DeviceStatus
) -> None:
    terminal = await provisioning.in_status(status)
    answer = await provisioning.ask_code(terminal)
    if status is not DeviceStatus.DEACTIVATED:
        activated = await provisioning.activate(terminal, answer.body["activation_code"])
        became = DeviceStatus.ACTIVE if status is DeviceStatus.PENDING_ACTIVATION else status
        assert (activated.status, activated.body["status"]) == (200, became)
        assert (await provisioning.read(terminal)).body["client_id"] == activated.body["client_id"]
    else:
        assert (answer.status, answer.code) == (409, "INVALID_STATUS_TRANSITION")
        assert status in answer.details[0]["issue"]


async def test_valid_code_does_not_activate_a_deactivated_device(provisioning: Provisioning) -> None:
    terminal = await provisioning.register()
    code = await provisioning.code(terminal)
    assert (await provisioning.move(terminal, DeviceEvent.DEACTIVATE)).status == 200
    answer = await provisioning.activate(terminal, code)
    assert (answer.status, answer.code) == (409, "INVALID_STATUS_TRANSITION")
    assert "deactivated" in answer.details[0]["issue"]
    assert (await provisioning.read(terminal)).body["status"] == "deactivated"


async def test_the_device_history_has_caller_and_reason_for_each_version(
    provisioning: Provisioning, admin: psycopg.AsyncConnection[DictRow]
) -> None:
    terminal, _ = await provisioning.active()
    await provisioning.move(terminal, DeviceEvent.SUSPEND, reason="lost on the train")
    await provisioning.move(terminal, DeviceEvent.RESUME)
    await provisioning.move(terminal, DeviceEvent.DEACTIVATE)
    rows = await (
        await admin.execute(
            "SELECT version, event, from_status, to_status, caller_type, caller_id, reason, request_id FROM device_history"
            " WHERE device_id = %s ORDER BY version",
            [terminal.device_id],
        )
    ).fetchall()
    manager, device = ("user", "usr_store_manager"), ("device", terminal.device_id)
    assert [tuple(row.values())[:6] for row in rows] == [
        (1, "create", None, "pending_activation", *manager),
        (2, "activate", "pending_activation", "active", *device),
        (3, "suspend", "active", "suspended", *manager),
        (4, "resume", "suspended", "active", *manager),
        (5, "deactivate", "active", "deactivated", *manager),
    ]
    assert rows[2]["reason"] == "lost on the train"
    assert all(row["request_id"].startswith("req_") for row in rows)
    assert (await provisioning.read(terminal)).body["version"] == 5


async def test_raw_sql_cannot_move_a_device_along_another_edge(
    provisioning: Provisioning, admin: psycopg.AsyncConnection[DictRow]
) -> None:
    edges = set(DEVICE.edges())
    refused = 0
    for source in DeviceStatus:
        terminal = await provisioning.in_status(source)
        for target in DeviceStatus:
            if target is source or (source, target) in edges:
                continue
            with pytest.raises(psycopg.errors.CheckViolation):
                await admin.execute(
                    "UPDATE devices SET status = %s, version = version + 1 WHERE id = %s", [target, terminal.device_id]
                )
            refused += 1
    assert refused == len(DeviceStatus) * (len(DeviceStatus) - 1) - len(edges)


async def test_eight_concurrent_suspensions_change_the_status_once(provisioning: Provisioning) -> None:
    terminal, _ = await provisioning.active()
    answers = await asyncio.gather(*(provisioning.move(terminal, DeviceEvent.SUSPEND) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    assert (await provisioning.read(terminal)).body["version"] == 3
