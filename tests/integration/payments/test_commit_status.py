"""A worker whose COMMIT was not acknowledged asks PostgreSQL until the transaction has ended, or its time is over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import LiteralString

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.integration.payments.evidence import Admin
from workflows.database.engines import Role, transaction
from workflows.processing import lost_answers
from workflows.processing.lost_answers import ClaimInDoubt, was_committed


class Checks:
    """Counts the checks of ``was_committed``; ``first`` is set when the first has ended."""

    def __init__(self) -> None:
        self.first = asyncio.Event()

    @asynccontextmanager
    async def transaction(self, role: Role) -> AsyncIterator[AsyncConnection]:
        async with transaction(role) as connection:
            yield connection
        self.first.set()


@pytest.fixture
def checks(engines: None, monkeypatch: pytest.MonkeyPatch) -> Checks:
    checks = Checks()
    monkeypatch.setattr(lost_answers, "transaction", checks.transaction)
    return checks


async def _begin(admin: Admin) -> ClaimInDoubt:
    await admin.execute("BEGIN")
    found = await admin.execute("SELECT pg_current_xact_id()::text AS id")
    row = await found.fetchone()
    assert row
    return ClaimInDoubt([], row["id"])


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
async def test_the_claim_is_valid_exactly_if_its_transaction_commits_after_the_first_check(
    admin: Admin, checks: Checks, ending: LiteralString
) -> None:
    doubt = await _begin(admin)
    asking = asyncio.create_task(was_committed(doubt, give_up_at=asyncio.get_running_loop().time() + 30))
    await checks.first.wait()
    assert not asking.done()
    await admin.execute(ending)
    assert await asking == (ending == "COMMIT")


async def test_a_transaction_that_still_runs_at_the_end_of_the_lease_counts_as_not_committed(
    admin: Admin, checks: Checks
) -> None:
    doubt = await _begin(admin)
    assert not await was_committed(doubt, give_up_at=asyncio.get_running_loop().time() + 0.2)
    assert checks.first.is_set()
    await admin.execute("ROLLBACK")
