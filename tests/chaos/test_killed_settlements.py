"""When a worker is killed during a close or a reconciliation run, nothing of it is stored, and another worker repeats it.

Each is a single transaction. The test locks a row that the transaction needs half-way, so that there is time to kill the
worker.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import psycopg
import pytest
import uuid_utils

from tests.live_stack import LiveStack
from tests.polling import eventually

WORKER = "worker-other"
AGAIN_SECONDS = 60


@asynccontextmanager
async def locked_rows(live: LiveStack, query: str, *values: Any) -> AsyncIterator[None]:
    """Lock the rows of ``query`` inside the block."""
    async with await psycopg.AsyncConnection.connect(live.stack.urls.database) as connection:
        await connection.execute(query.encode(), values)
        yield
        await connection.rollback()


async def wait_until_blocked_at(live: LiveStack, step: str) -> None:
    """Wait until the worker's statement that is named ``step`` waits for a lock."""
    looking = """SELECT query FROM pg_stat_activity WHERE application_name = 'mpac_worker' AND wait_event_type = 'Lock'
                 AND query LIKE '%%' || %s || '%%'"""
    await eventually(lambda: live.sql(looking, step), until=bool, within=AGAIN_SECONDS)


async def kill_the_worker(live: LiveStack) -> None:
    live.stack.kill(WORKER, signal.SIGKILL)
    gone = "SELECT FROM pg_stat_activity WHERE application_name = 'mpac_worker' AND wait_event_type = 'Lock'"
    await eventually(lambda: live.sql(gone), until=lambda rows: not rows, within=AGAIN_SECONDS)


async def running_settlement(live: LiveStack) -> str:
    """Return the id of the running settlement."""
    query = "SELECT id FROM settlements WHERE store_id = %s AND status = 'open' AND currency = 'JPY'"
    if not await live.sql(query, live.tenant.store_id):
        await asyncio.to_thread(live.nudge, "settlements.open_due")
    rows = await eventually(lambda: live.sql(query, live.tenant.store_id), until=bool, within=AGAIN_SECONDS)
    return str(rows[0]["id"])


async def settlement(live: LiveStack, settlement_id: str) -> dict[str, Any]:
    (row,) = await live.sql("SELECT * FROM settlements WHERE id = %s", settlement_id)
    return row


async def test_a_settlement_is_closed_once_when_the_worker_is_killed_during_its_close(
    live: LiveStack,
) -> None:
    settlement_id = await running_settlement(live)
    sold = await live.pay_many(30)
    assert await live.final_statuses(sold) == {"completed": 30}
    async with locked_rows(live, "SELECT FROM payments WHERE id = %s FOR UPDATE", sold[0]):
        await live.sql("UPDATE settlements SET end_at = clock_timestamp() WHERE id = %s", settlement_id)
        await wait_until_blocked_at(live, "mark: lock the rows")
        await kill_the_worker(live)
        assert (await settlement(live, settlement_id))["status"] == "open"
        assert await live.sql("SELECT FROM settlement_lines WHERE settlement_id = %s", settlement_id) == []
    row = await eventually(
        lambda: settlement(live, settlement_id), until=lambda row: row["status"] == "closed", within=AGAIN_SECONDS
    )
    lines = await live.sql("SELECT entity_id FROM settlement_lines WHERE settlement_id = %s", settlement_id)
    assert {line["entity_id"] for line in lines} >= set(sold)
    assert len(lines) == row["line_count"]
    events = await live.sql(
        "SELECT event, version FROM settlement_history WHERE settlement_id = %s ORDER BY version", settlement_id
    )
    assert [(each["event"], each["version"]) for each in events] == [("create", 1), ("close", 2)]


@pytest.fixture
async def settlement_with_break(live: LiveStack) -> str:
    """Return the id of a closed settlement with a break.

    The statement has another amount for one of the settlement's payments.
    """
    await running_settlement(live)
    sold = await live.pay_many(5)
    assert await live.final_statuses(sold) == {"completed": 5}
    settlement_id = str((await live.close_the_day())["id"])
    lines = await live.sql(
        "SELECT * FROM settlement_lines WHERE settlement_id = %s AND provider = 'sandbox'", settlement_id
    )
    told = [
        {
            "kind": "charge" if line["kind"] == "payment" else "refund",
            "reference": line["our_reference"],
            "provider_reference": line["provider_reference"],
            "amount": abs(line["amount"]) + (line["entity_id"] == sold[0]),
            "currency": line["currency"],
            "fee": line["fee"],
            "at": line["occurred_at"].isoformat(),
        }
        for line in lines
    ]
    manager = live.api.signer.user(live.tenant, role="store_manager")
    path, body = f"/settlements/{settlement_id}", {"provider": "sandbox", "lines": told}
    sent = await live.api.post(f"{path}/statements", body, as_=manager, key=uuid_utils.uuid7().hex)
    assert sent.status == 201, sent.raw
    run = await live.api.post(f"{path}/reconcile", as_=manager)
    assert (run.status, run.body["run"], run.body["open_breaks"]) == (200, 1, 1), run.raw
    return settlement_id


async def runs(live: LiveStack, settlement_id: str) -> list[dict[str, Any]]:
    return await live.sql(
        "SELECT number, at, summary FROM reconciliation_runs WHERE settlement_id = %s ORDER BY number", settlement_id
    )


async def make_due(live: LiveStack, settlement_id: str) -> None:
    """Make the settlement due, so that a worker reconciles it now."""
    await live.sql(
        """INSERT INTO reconciliation_tries (settlement_id, merchant_id, store_id, tries, due_at)
           SELECT id, merchant_id, store_id, 0, now() FROM settlements WHERE id = %s
           ON CONFLICT (settlement_id) DO UPDATE SET due_at = now()""",
        settlement_id,
    )
    await asyncio.to_thread(live.nudge, "sweeps.reconciliations")  # beat would send it, within its fifteen seconds


async def test_a_reconciliation_run_whose_worker_is_killed_leaves_nothing_and_its_number_is_used_again(
    live: LiveStack, settlement_with_break: str
) -> None:
    async with locked_rows(live, "SELECT FROM breaks WHERE settlement_id = %s FOR UPDATE", settlement_with_break):
        await make_due(live, settlement_with_break)
        await wait_until_blocked_at(live, "record: new breaks")
        await kill_the_worker(live)
        assert [run["number"] for run in await runs(live, settlement_with_break)] == [1]
    await live.stack.wait_ready(WORKER)
    await make_due(live, settlement_with_break)
    await eventually(lambda: runs(live, settlement_with_break), until=lambda rows: len(rows) > 1, within=AGAIN_SECONDS)
    # The killed worker's message, the nudge and beat can each start a run, so there may be a third one. One statement reads
    # the runs and the break, because such a run may end between two.
    found = await live.sql(
        """SELECT r.number, r.at, r.summary, b.run, b.opened_at, b.resolution
           FROM reconciliation_runs r JOIN breaks b USING (settlement_id) WHERE settlement_id = %s ORDER BY r.number""",
        settlement_with_break,
    )
    assert [run["number"] for run in found] == list(range(1, len(found) + 1))
    first, *repeated = found
    assert {orjson.dumps(run["summary"]) for run in repeated} == {orjson.dumps(first["summary"])}
    assert (first["opened_at"], first["run"], first["resolution"]) == (first["at"], len(found), None)
