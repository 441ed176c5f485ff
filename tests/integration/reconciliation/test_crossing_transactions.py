"""Concurrent uploads, runs, resolutions and fetches each decide by the rows that they read after locking.

Each test stops one transaction at the critical point by locking a row that the transaction needs.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
import pytest

from tests.factories import Tenant
from tests.fakes import FakeProvider
from tests.harness import Api
from tests.integration.reconciliation.reconciliation_helpers import Admin, old_sales, one_break, resolve
from tests.integration.reconciliation.test_fetching_and_due import ACTOR, reported, row_of
from tests.polling import eventually
from tests.reconciliation_helpers import closed_settlement, mirror, upload
from tests.reference_matcher import Ours
from workflows.errors import InvalidStatusTransition
from workflows.providers.base import StatementLine, Unavailable
from workflows.providers.registry import Providers
from workflows.reconciliation.reconcile import reconcile_settlement
from workflows.reconciliation.statements.fetch import fetch_statements
from workflows.settings import Settings


@asynccontextmanager
async def locked_settlement(
    admin: Admin, strength: str, settlement_id: str
) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Hold a lock on the settlement's row, from another transaction, for the duration of the block."""
    other = await psycopg.AsyncConnection.connect(admin.info.dsn, password=admin.info.password)
    async with other:
        await other.execute(f"SELECT FROM settlements WHERE id = %s FOR {strength}".encode(), [settlement_id])
        yield other
        await other.rollback()


async def wait_until_blocked(admin: Admin, *, count: int = 1) -> None:
    """Wait until ``count`` statements of the product wait for a lock."""
    query = b"""SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'mpac_%'
                AND datname = current_database()"""

    async def look() -> int:
        row = await (await admin.execute(query)).fetchone()
        assert row is not None
        return int(row["n"])

    await eventually(look, until=lambda n: n >= count, within=60)


async def last_run(admin: Admin, settlement_id: str) -> dict[str, Any]:
    found = await admin.execute(
        "SELECT * FROM reconciliation_runs WHERE settlement_id = %s ORDER BY number DESC LIMIT 1", [settlement_id]
    )
    row = await found.fetchone()
    assert row is not None
    return row


@dataclass
class SlowProvider(FakeProvider):
    """A provider that sends its statement when the test allows it."""

    asked_for_statement: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def statement(
        self, account: str, *, start: datetime, end: datetime
    ) -> AsyncIterator[list[StatementLine] | Unavailable]:
        self.asked_for_statement.set()
        await self.may_answer.wait()
        async for page in super().statement(account, start=start, end=end):
            yield page


def wrong(sales: list[Ours]) -> list[StatementLine]:
    return [reported(sales[0], amount=1), *(reported(line) for line in sales[1:])]


async def test_a_file_uploaded_while_the_api_is_asked_is_not_superseded_by_its_answer(
    admin: Admin, tenant: Tenant, settings: Settings
) -> None:
    sales = old_sales(3)
    settlement_id = await closed_settlement(admin, tenant, sales)
    provider = SlowProvider()
    provider.statements = [wrong(sales)]
    asking = asyncio.create_task(
        fetch_statements(settlement_id, actor=ACTOR, providers=Providers({"sandbox": provider}))
    )
    await provider.asked_for_statement.wait()
    uploaded = await upload(tenant, settlement_id, map(mirror, sales))
    provider.may_answer.set()
    (fetched,) = await asking
    assert (fetched.statement_id, fetched.error) == (uploaded["id"], None)
    run = await reconcile_settlement(settlement_id, actor=ACTOR, settings=settings)
    assert (run["statement_ids"], run["status"]) == ([uploaded["id"]], "reconciled")


async def test_a_file_that_waits_while_a_run_signs_off_is_refused(
    admin: Admin, tenant: Tenant, settings: Settings
) -> None:
    sales = old_sales(3)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, map(mirror, sales))
    async with locked_settlement(admin, "KEY SHARE", settlement_id):
        running = asyncio.create_task(reconcile_settlement(settlement_id, actor=ACTOR, settings=settings))
        await wait_until_blocked(admin)  # the run has compared, and is about to sign off
        sending = asyncio.create_task(
            upload(tenant, settlement_id, [mirror(sales[0], amount=1), *map(mirror, sales[1:])])
        )
        await asyncio.wait(
            [sending, asyncio.create_task(wait_until_blocked(admin, count=2))], return_when="FIRST_COMPLETED"
        )
    assert (await running)["status"] == "reconciled"
    with pytest.raises(InvalidStatusTransition):
        await sending
    found = await admin.execute("SELECT id FROM statements WHERE settlement_id = %s", [settlement_id])
    assert [row["id"] for row in await found.fetchall()] == (await last_run(admin, settlement_id))["statement_ids"]


async def test_a_run_compares_a_file_whose_upload_is_not_committed_yet(
    admin: Admin, tenant: Tenant, settings: Settings
) -> None:
    sales = old_sales(3)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, map(mirror, sales))
    async with locked_settlement(admin, "UPDATE", settlement_id):
        sending = asyncio.create_task(
            upload(tenant, settlement_id, [mirror(sales[0], amount=1), *map(mirror, sales[1:])])
        )
        await wait_until_blocked(admin)  # the insert of its statement waits for a key lock on the settlement
        running = asyncio.create_task(reconcile_settlement(settlement_id, actor=ACTOR, settings=settings))
        await wait_until_blocked(admin, count=2)
    uploaded = await sending
    assert ((await running)["statement_ids"], (await running)["open_breaks"]) == ([uploaded["id"]], 1)


async def test_a_resolution_that_crosses_a_run_books_nothing_for_a_break_that_it_did_not_see(
    api: Api, admin: Admin, tenant: Tenant, settings: Settings
) -> None:
    sales = old_sales(3)
    settlement_id = await closed_settlement(admin, tenant, sales)
    wrong_lines = [mirror(sales[0], amount=900), mirror(sales[1], amount=800), mirror(sales[2])]
    await upload(tenant, settlement_id, wrong_lines)
    await reconcile_settlement(settlement_id, actor=ACTOR, settings=settings)
    found = await admin.execute("SELECT id, theirs FROM breaks WHERE settlement_id = %s", [settlement_id])
    break_id = next(row["id"] for row in await found.fetchall() if row["theirs"] == 900)
    await upload(tenant, settlement_id, [mirror(sales[0]), *wrong_lines[1:]])
    async with locked_settlement(admin, "KEY SHARE", settlement_id):
        running = asyncio.create_task(reconcile_settlement(settlement_id, actor=ACTOR, settings=settings))
        await wait_until_blocked(admin)
        resolving = asyncio.create_task(resolve(api, tenant, break_id, resolution="adjust"))
        await wait_until_blocked(admin, count=2)
    assert (await running)["open_breaks"] == 1
    answer = await resolving
    assert answer.status == 409
    assert "no longer found" in answer.details[0]["issue"]
    booked = await admin.execute(
        "SELECT FROM settlement_lines WHERE store_id = %s AND kind = 'adjustment'", [tenant.store_id]
    )
    assert await booked.fetchall() == []


async def test_the_last_resolution_does_not_sign_off_a_statement_that_no_run_has_compared(
    api: Api, admin: Admin, tenant: Tenant, settings: Settings
) -> None:
    settlement_id, sales, found = await one_break(api, admin, tenant, amount=900)
    await upload(tenant, settlement_id, [mirror(sales[0], amount=900), mirror(sales[1], amount=1), mirror(sales[2])])
    assert (await resolve(api, tenant, found["id"], resolution="adjust")).status == 200
    assert (await row_of(admin, settlement_id))["status"] == "closed"
    run = await reconcile_settlement(settlement_id, actor=ACTOR, settings=settings)
    assert (run["status"], run["open_breaks"]) == ("closed", 1)


async def test_a_run_that_waited_for_the_settlement_is_later_in_its_history_than_what_it_waited_for(
    admin: Admin, tenant: Tenant, settings: Settings
) -> None:
    sales = old_sales(2)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, [mirror(sales[0], amount=1), mirror(sales[1])])
    async with locked_settlement(admin, "UPDATE", settlement_id) as other:
        running = asyncio.create_task(reconcile_settlement(settlement_id, actor=ACTOR, settings=settings))
        await wait_until_blocked(admin)
        await other.execute(
            b"""WITH counted AS (UPDATE settlements SET version = version + 1 WHERE id = %s RETURNING *)
                INSERT INTO settlement_history SELECT id, version, merchant_id, store_id, 'count_cash', status, status,
                    clock_timestamp(), 'user', 'usr_manager' FROM counted""",
            [settlement_id],
        )
        await other.commit()
    await running
    found = await admin.execute(
        "SELECT event, at FROM settlement_history WHERE settlement_id = %s ORDER BY version", [settlement_id]
    )
    history = await found.fetchall()
    assert [row["event"] for row in history] == ["create", "close", "count_cash", "compare"]
    assert [row["at"] for row in history] == sorted(row["at"] for row in history)  # I14
