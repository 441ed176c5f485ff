"""`mpac clock` waits until no worker processes a payment or refund, and none is about to be claimed."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import psycopg
import pytest

from mpac.stack.database_profile import SERVERS_OF_THE_USERS
from mpac.stack.local_stack import LocalStack
from tests.integration.mpac.test_clock import AHEAD, HOUR, ask, clock_state_of

SERVICES = ("postgres", "sandbox", "migrate")
PAYMENT = """
INSERT INTO payments (id, merchant_id, store_id, status, version, amount, currency, method_type, method_mode, processing_mode,
                      provider, expires_at, created_at, processing_at, lease_until)
VALUES ('pay_1', 'mer_1', 'sto_1', {}, 2, 700, 'JPY', 'qr', 'cpm', 'provider', 'sandbox', now() + interval '5 min', now(), {})
"""
REFUND = """
INSERT INTO refunds (id, payment_id, merchant_id, store_id, status, version, amount, currency, provider, reason, staff_code,
                     created_at, processing_at, lease_until)
VALUES ('ref_1', 'pay_1', 'mer_1', 'sto_1', {}, 2, 700, 'JPY', 'sandbox', 'cold soup', 's-7', now(), {})
"""
LEASED = ("'processing'", "now(), now() + interval '1 hour'")
NEW = ("'pending'", "NULL, NULL")
AT_WORK = {
    "a payment that a worker processes": PAYMENT.format(*LEASED),
    "a payment that was just accepted": PAYMENT.format(*NEW),
    "a refund that a worker processes": REFUND.format(*LEASED),
    "a refund that was just accepted": REFUND.format(*NEW),
}


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """Yield a database and a provider for this module."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SERVERS_OF_THE_USERS:
            patch.delenv(name, raising=False)
        async with LocalStack(tmp_path_factory.mktemp("clock") / "home", services=SERVICES, durable=False) as stack:
            yield stack


@pytest.mark.parametrize("row", AT_WORK.values(), ids=AT_WORK)
async def test_the_clock_moves_only_after_payments_in_progress_have_ended(own: LocalStack, row: str) -> None:
    waits: list[int] = []
    is_waiting = asyncio.Event()

    def report_waiting(count: int) -> None:
        waits.append(count)
        is_waiting.set()

    async def before_move(_seconds: int) -> None: ...

    async with (
        aiohttp.ClientSession() as session,
        clock_state_of(own, session) as clock,
        await psycopg.AsyncConnection.connect(own.urls.database, autocommit=True) as worker,
    ):
        await worker.execute("SET session_replication_role = replica")  # the row needs neither a tenant nor an attempt
        await worker.execute(row.encode())
        before = clock.ahead_seconds
        moving = asyncio.create_task(clock.move(before + HOUR, report_waiting=report_waiting, before_move=before_move))
        try:
            await asyncio.wait({moving, asyncio.create_task(is_waiting.wait())}, return_when=asyncio.FIRST_COMPLETED)
            assert not moving.done()
            assert await ask(own, AHEAD) == before
        finally:
            await worker.execute("DELETE FROM payments")
            await worker.execute("DELETE FROM refunds")
        await moving
        assert (waits, clock.ahead_seconds, clock.provider_ahead_seconds) == ([1], before + HOUR, before + HOUR)
