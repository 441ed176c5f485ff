"""Hanging calls release their connection when the client has disconnected."""

import asyncio
from typing import cast

import pytest
from aiohttp import web

from sandbox import fault_responses
from sandbox.fault_responses import HangingRequests


class Connection:
    """The parts of a request and its transport that ``HangingRequests`` uses."""

    def __init__(self) -> None:
        self.closed = False
        self.transport = self

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture(autouse=True)
def _quick_patrol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_responses, "CHECK_SECONDS", 0.005)


def hold(holds: HangingRequests, connection: Connection) -> asyncio.Task[None]:
    return asyncio.ensure_future(holds.hang(cast(web.Request, connection)))


async def test_a_hanging_call_is_released_when_its_client_disconnects() -> None:
    holds, gone, patient = HangingRequests(), Connection(), Connection()
    tasks = hold(holds, gone), hold(holds, patient)
    await asyncio.wait(tasks, timeout=0.03)
    assert not any(task.done() for task in tasks)
    gone.closed = True
    await asyncio.wait_for(tasks[0], 5)
    assert not tasks[1].done()
    holds.close()
    await asyncio.wait_for(tasks[1], 5)


async def test_a_hanging_call_is_released_after_its_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_responses, "HANG_SECONDS", 0.02)
    holds = HangingRequests()
    await asyncio.wait_for(hold(holds, Connection()), 5)
    holds.close()


async def test_calls_that_hang_later_are_watched_again() -> None:
    holds = HangingRequests()
    for _ in range(3):
        connection = Connection()
        task = hold(holds, connection)
        await asyncio.wait([task], timeout=0.01)
        connection.closed = True
        await asyncio.wait_for(task, 5)
        await asyncio.sleep(0.015)  # long enough for the watching task to find no call and stop
    holds.close()


async def test_a_stopping_sandbox_releases_all_hanging_calls() -> None:
    holds = HangingRequests()
    holds.close()
    await asyncio.wait_for(hold(holds, Connection()), 5)
