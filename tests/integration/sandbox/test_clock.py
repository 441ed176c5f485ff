"""Moving the provider's clock forward affects everything that has a time, and nothing moves it back."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.integration.sandbox.harness import Launch, Sandbox, new_payment_id
from tests.polling import eventually

DAY_SECONDS = 86_400


async def move(sandbox: Sandbox, ahead_seconds: Any) -> dict[str, Any]:
    """Move the clock, and return the body of the sandbox's answer."""
    answer = await sandbox.call("PUT", "/control/clock", body={"ahead_seconds": ahead_seconds})
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.body
    return body


async def at_of(sandbox: Sandbox, payment: str) -> list[datetime]:
    """Return the times at which money of this payment moved, from the ledger."""
    rows = (await sandbox.call("GET", f"/control/ledger/{payment}")).body["data"]
    return [datetime.fromisoformat(row["at"]) for row in rows]


async def test_movements_after_a_clock_move_have_the_moved_date(launch: Launch) -> None:
    sandbox = await launch()
    before, after = new_payment_id(), new_payment_id()
    await sandbox.charge(f"{before}:1")
    moved = await move(sandbox, DAY_SECONDS)
    await sandbox.charge(f"{after}:1")
    (first,), (second,) = await at_of(sandbox, before), await at_of(sandbox, after)
    assert timedelta(days=1) <= second - first < timedelta(days=1, minutes=1)
    assert moved["ahead_seconds"] == DAY_SECONDS
    assert datetime.fromisoformat(moved["now"]) <= second
    day = f"from={(first + timedelta(hours=1)).isoformat()}&to={(second + timedelta(hours=1)).isoformat()}"
    lines = (await sandbox.call("GET", f"/v1/statements?{day.replace('+', '%2B')}")).body["data"]
    assert [line["payment_id"] for line in lines] == [after]
    assert (
        lines[0]["settled_on"]
        > (await sandbox.call("GET", "/v1/statements?from=2000-01-01T00:00:00Z&to=2999-01-01T00:00:00Z")).body["data"][
            0
        ]["settled_on"]
    )
    await sandbox.stop()


async def test_pending_outcomes_whose_time_has_passed_happen_at_once_after_a_clock_move(launch: Launch) -> None:
    sandbox = await launch()
    pending, code, hidden = f"{new_payment_id()}:1", f"{new_payment_id()}:1", f"{new_payment_id()}:1"
    await sandbox.charge(pending, fate=f"pending:{3_600_000}")
    await sandbox.code(code, expires_in=3_600)
    await sandbox.charge(hidden, fate=f"error_500_after_charge+not_found_lie:{3_600_000}")
    assert (await sandbox.ask(hidden)).status == 404
    await move(sandbox, 3_500)  # none of it has happened yet, however long the previous steps took
    assert (await sandbox.ask(code)).body["status"] == "waiting"
    assert await sandbox.moved(pending.partition(":")[0]) == []
    await move(sandbox, 3_601)
    # No inquiry is made: an outcome that is due in an hour has to happen by itself.
    await eventually(lambda: sandbox.moved(pending.partition(":")[0]), until=lambda moved: moved == [("charge", 1_000)])
    assert (await sandbox.ask(code)).body["status"] == "expired"
    assert (await sandbox.ask(hidden)).body["status"] == "succeeded"
    await sandbox.stop()


async def test_a_moved_clock_survives_kill_9_and_an_emptied_ledger(launch: Launch) -> None:
    first = await launch()
    await move(first, DAY_SECONDS)
    await first.call("DELETE", "/control/ledger")
    await first.kill()
    second = await launch()
    assert (await second.call("GET", "/control/clock")).body["ahead_seconds"] == DAY_SECONDS
    await second.stop()


async def test_the_clock_is_never_set_back(launch: Launch) -> None:
    sandbox = await launch()
    await move(sandbox, 60)
    refused = await sandbox.call("PUT", "/control/clock", body={"ahead_seconds": 59})
    assert (refused.status, refused.body["error"]["code"]) == (400, "invalid_request")
    assert (await sandbox.call("GET", "/control/clock")).body["ahead_seconds"] == 60
    await sandbox.stop()


@pytest.mark.parametrize("body", [{}, {"ahead_seconds": -1}, {"ahead_seconds": 1.5}, {"ahead_seconds": "1"}], ids=str)
async def test_an_impossible_time_is_refused(sandbox: Sandbox, body: dict[str, Any]) -> None:
    assert (await sandbox.call("PUT", "/control/clock", body=body)).status == 400
