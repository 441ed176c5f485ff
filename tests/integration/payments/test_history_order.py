"""The history of a payment is in the order of its versions, even if a change waited for a lock (I14)."""

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.factories import QR, PaymentMaker
from tests.fakes import FakeProvider
from tests.polling import wait_until_blocked_by
from workflows.clock import now
from workflows.database.engines import Role, transaction
from workflows.errors import ResourceNotFound
from workflows.payments.states import PAYMENT, PaymentEvent
from workflows.transitions import ChangeContext, apply

OVERTAKES = """
    UPDATE payments SET version = version + 1, status = 'processing', lease_until = now() + interval '30 s', fence = fence + 1
    WHERE id = %(id)s
"""
TELLS = """
    INSERT INTO payment_history (payment_id, version, merchant_id, store_id, event, from_status, to_status, at, caller_type,
                                 caller_id)
    SELECT id, version, merchant_id, store_id, 'request_review', 'processing', 'processing', clock_timestamp(), 'worker', 'w'
    FROM payments WHERE id = %(id)s
"""


async def test_a_cancel_that_waited_for_a_lock_is_dated_after_it(
    payments: PaymentMaker, provider: FakeProvider, stack: Any, admin: psycopg.AsyncConnection[DictRow]
) -> None:
    payment_id = await payments.pending(QR)
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as other:
        await other.execute(OVERTAKES, {"id": payment_id})
        cancelling = asyncio.create_task(payments.cancel(payment_id))
        await wait_until_blocked_by(other, seen_by=admin)
        await other.execute(TELLS, {"id": payment_id})
    await cancelling
    assert await _dates_run_forward(admin, payment_id, versions=3)


async def test_an_answer_that_waited_for_a_lock_is_dated_after_it(
    payments: PaymentMaker, provider: FakeProvider, stack: Any, admin: psycopg.AsyncConnection[DictRow]
) -> None:
    payment_id = await payments.pending(QR)
    provider.hold()
    processing = asyncio.create_task(payments.process(payment_id))
    await provider.heard.wait()
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as other:
        await other.execute("UPDATE payments SET version = version + 1 WHERE id = %(id)s", {"id": payment_id})
        provider.release()
        await wait_until_blocked_by(other, seen_by=admin)
        await other.execute(TELLS, {"id": payment_id})
    await processing
    assert await _dates_run_forward(admin, payment_id, versions=4)


async def _dates_run_forward(admin: psycopg.AsyncConnection[DictRow], payment_id: str, *, versions: int) -> bool:
    found = await admin.execute("SELECT at FROM payment_history WHERE payment_id = %s ORDER BY version", [payment_id])
    dates = [row["at"] for row in await found.fetchall()]
    assert len(dates) == versions
    return dates == sorted(dates)


async def test_an_event_of_an_unknown_payment_is_refused(engines: None) -> None:
    by = ChangeContext("worker", "a worker", now())
    async with transaction(Role.WORKER) as connection:
        with pytest.raises(ResourceNotFound):
            await apply(connection, PAYMENT, entity_id="pay_none", event=PaymentEvent.CANCEL, by=by)
