"""Everything that the sandbox has answered is in its ledger, even after kill -9."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.sandbox.harness import HOUR_MS, Launch, Sandbox, new_payment_id
from tests.polling import GENEROUS_SECONDS, eventually


async def ledger(sandbox: Sandbox) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await sandbox.call("GET", "/control/ledger?limit=5000")).body["data"]
    return rows


async def test_every_answered_charge_survives_kill_9(launch: Launch) -> None:
    first = await launch()
    answered: dict[str, str] = {}
    enough = asyncio.Event()

    async def keep_charging() -> None:
        with contextlib.suppress(aiohttp.ClientError):
            while True:
                body = (await first.charge(f"{new_payment_id()}:1")).body
                answered[body["reference"]] = body["provider_reference"]
                if len(answered) >= 300:
                    enough.set()

    chargers = [asyncio.ensure_future(keep_charging()) for _ in range(20)]
    await asyncio.wait_for(enough.wait(), GENEROUS_SECONDS)
    first.process.kill()  # while other charges are being processed
    await asyncio.gather(*chargers)

    second = await launch()
    rows = {row["reference"]: row["provider_reference"] for row in await ledger(second)}
    assert answered.items() <= rows.items()
    reference = next(iter(answered))
    assert (await second.charge(reference)).body["provider_reference"] == answered[reference]
    assert len(await ledger(second)) == len(rows)
    await second.stop()


async def test_pending_outcomes_survive_kill_9(launch: Launch) -> None:
    first = await launch()
    pending, lied, struck, cancelled = (new_payment_id() for _ in range(4))
    await first.charge(f"{pending}:1", fate="pending:1000")
    await first.hang_up_once_moved(first.charge(f"{lied}:1", fate=f"not_found_lie:{HOUR_MS}"), lied)
    assert (await first.charge(f"{struck}:1", fate="error_500_before_charge")).status == 500
    await first.call("POST", f"/v1/charges/{cancelled}:1/cancel")
    await first.kill()

    second = await launch()
    assert (await second.ask(f"{lied}:1")).status == 404
    assert await second.moved(lied) == [("charge", 1_000)]
    assert (await second.charge(f"{struck}:1", fate="error_500_before_charge")).status == 200
    assert (await second.charge(f"{cancelled}:1")).body["decline_code"] == "cancelled"
    await eventually(lambda: second.moved(pending), until=lambda moved: moved == [("charge", 1_000)])
    await second.stop()


async def test_a_second_process_cannot_open_the_same_ledger(launch: Launch) -> None:
    first = await launch()
    with pytest.raises(AssertionError, match="in use by another process"):
        await launch()
    assert (await first.charge(f"{new_payment_id()}:1")).status == 200
    await first.stop()


async def test_the_sandbox_stops_while_calls_hang(launch: Launch, sandbox_folder: Path) -> None:
    sandbox = await launch()
    payment = new_payment_id()
    held = asyncio.ensure_future(sandbox.charge(f"{payment}:1", fate="timeout_after_charge"))
    await eventually(lambda: sandbox.moved(payment), until=bool)
    sandbox.process.terminate()
    with pytest.raises(aiohttp.ClientError):
        await held
    await sandbox.stop()  # the call would hang for two minutes; stopping waits at most for a sixth of that
    assert os.listdir(sandbox_folder) == ["ledger-2.sqlite3"]
