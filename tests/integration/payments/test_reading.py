"""Lists have stable pages and filters, and a payment is invisible to others."""

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import MakeTenant
from tests.factories import CASH, PaymentMaker
from workflows.clock import now
from workflows.errors import ResourceNotFound
from workflows.payments.queries import PaymentFilter, list_payments, payment_reads, read_timeline


async def test_pages_are_newest_first_and_stable_while_payments_arrive(payments: PaymentMaker) -> None:
    caller = payments.tenant.device
    old = [await payments.pending() for _ in range(7)]
    seen: list[str] = []
    before = None
    while page := await list_payments(PaymentFilter(), caller=caller, limit=3, before=before):
        seen += [row["id"] for row in page]
        before = seen[-1]
        await payments.pending()
    assert seen == old[::-1]


async def test_each_filter_finds_exactly_the_matching_payments(payments: PaymentMaker, make_tenant: MakeTenant) -> None:
    caller = payments.tenant.device
    plain = await payments.pending()
    marked = await payments.pending(client_reference="till-1")
    done = await payments.pending(CASH)
    await payments.process(done)

    async def ids(**wanted: Any) -> set[str]:
        return {row["id"] for row in await list_payments(PaymentFilter(**wanted), caller=caller, limit=50, before=None)}

    assert await ids(status="completed") == {done}
    assert await ids(status="pending") == {plain, marked}
    assert await ids(client_reference="till-1") == {marked}
    assert await ids(device_id=caller.id) == {plain, marked, done}
    assert await ids(store_id="sto_other") == set()
    assert await ids(bill_id="bil_1") == set()
    assert await ids(created_from=now() - timedelta(minutes=1)) == {plain, marked, done}
    assert await ids(created_from=now() + timedelta(minutes=1)) == set()
    assert await ids(created_to=now() - timedelta(minutes=1)) == set()


async def test_payments_are_invisible_to_another_tenant(payments: PaymentMaker, make_tenant: MakeTenant) -> None:
    payment_id = await payments.pending()
    stranger = (await make_tenant()).device
    assert await list_payments(PaymentFilter(), caller=stranger, limit=50, before=None) == []
    assert (
        await list_payments(PaymentFilter(store_id=payments.tenant.store_id), caller=stranger, limit=5, before=None)
        == []
    )
    for read in (payment_reads(timeout_seconds=600).read, read_timeline):
        with pytest.raises(ResourceNotFound):
            await read(payment_id, caller=stranger)


async def test_timeline_lists_transitions_attempts_and_messages_in_order(payments: PaymentMaker) -> None:
    payment_id = await payments.pending()
    await payments.process(payment_id)
    events = await read_timeline(payment_id, caller=payments.tenant.device)
    assert [entry["type"] for entry in events if entry["type"] == "transition"] == ["transition"] * 3
    assert {"attempt_sent", "attempt_answered"} <= {entry["type"] for entry in events}
    assert [entry["at"] for entry in events] == sorted(entry["at"] for entry in events)
