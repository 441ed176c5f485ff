"""An idempotency key or client reference makes one payment, however often and through however many processes it arrives."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from psycopg import AsyncConnection

from mpac.stack.local_stack import LocalStack
from tests.conftest import MakeTenant
from tests.factories import CASH, QR, PaymentMaker, Tenant, submission
from tests.integration.payments.evidence import Admin, all_of
from tests.integration.payments.payment_helpers import count, submit_concurrently
from tests.polling import eventually, wait_until_blocked_by
from workflows.database.connection import Execute, Row
from workflows.errors import (
    DuplicateResource,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    ServiceUnavailable,
)
from workflows.payments import accept
from workflows.payments.accept import PaymentIntake
from workflows.payments.check_request import PaymentSubmission, load_context
from workflows.requests.idempotency import AnswerToStore, StoredAnswer, record_rows, store_answer
from workflows.settings import Settings
from workflows.tenants.caller import caller_transaction


async def test_the_same_key_and_body_get_the_same_bytes_again(
    accepting: PaymentIntake, tenant: Tenant, admin: Admin
) -> None:
    first = await accepting.accept_payment(submission(CASH, tenant.device, key="k-1"))
    again = await accepting.accept_payment(submission(CASH, tenant.device, key="k-1"))
    assert (again.status, again.body, again.is_replay) == (first.status, first.body, True)
    assert await count(admin, tenant) == 1


async def test_the_same_key_with_another_body_is_refused(
    accepting: PaymentIntake, tenant: Tenant, admin: Admin
) -> None:
    await accepting.accept_payment(submission(CASH, tenant.device, key="k-1"))
    with pytest.raises(IdempotencyKeyReused):
        await accepting.accept_payment(submission(CASH, tenant.device, key="k-1", body=b'{"amount":2}'))
    assert await count(admin, tenant) == 1


async def test_replay_returns_its_answer_although_the_request_would_now_be_refused(
    accepting: PaymentIntake, tenant: Tenant, admin: Admin
) -> None:
    asked = replace(QR, client_reference="till-1")
    first = await accepting.accept_payment(submission(asked, tenant.device, key="k-1"))
    await admin.execute("UPDATE store_providers SET enabled = false WHERE store_id = %s", [tenant.store_id])
    again = await accepting.accept_payment(submission(asked, tenant.device, key="k-1"))
    assert again.body == first.body


async def test_two_merchants_may_use_one_key(accepting: PaymentIntake, tenant: Tenant, make_tenant: MakeTenant) -> None:
    other = await make_tenant()
    results = await submit_concurrently(
        accepting, submission(CASH, tenant.device, key="k-1"), submission(CASH, other.device, key="k-1", body=b"other")
    )
    assert [result.status for result in results] == [201, 201]


async def test_a_hundred_concurrent_uses_of_a_key_make_one_payment(
    accepting: PaymentIntake, tenant: Tenant, admin: Admin
) -> None:
    results = await submit_concurrently(accepting, *[submission(CASH, tenant.device, key="k-1") for _ in range(100)])
    bodies = {result.body for result in results if isinstance(result, StoredAnswer)}
    assert len(bodies) == 1
    assert all(isinstance(result, StoredAnswer | IdempotencyKeyInUse) for result in results)
    assert await count(admin, tenant) == 1


async def test_concurrent_uses_of_a_key_in_several_processes_make_one_payment(
    settings: Any, tenant: Tenant, admin: Admin, engines: None
) -> None:
    processes = [PaymentIntake(nudge_grace_seconds=5, timeout_seconds=30) for _ in range(8)]
    asked = [process.accept_payment(submission(CASH, tenant.device, key="k-1")) for process in processes]
    results = await asyncio.gather(*asked)
    assert len({result.body for result in results}) == 1
    assert sum(not result.is_replay for result in results) == 1
    assert await count(admin, tenant) == 1


async def test_concurrent_uses_of_a_key_with_two_bodies_make_one_payment(
    tenant: Tenant, admin: Admin, engines: None
) -> None:
    one, two = (
        PaymentIntake(nudge_grace_seconds=5, timeout_seconds=30),
        PaymentIntake(nudge_grace_seconds=5, timeout_seconds=30),
    )
    results = await asyncio.gather(
        one.accept_payment(submission(CASH, tenant.device, key="k-1", body=b"a")),
        two.accept_payment(submission(CASH, tenant.device, key="k-1", body=b"b")),
        return_exceptions=True,
    )
    assert sorted((type(result) for result in results), key=lambda kind: kind.__name__) == [
        IdempotencyKeyReused,
        StoredAnswer,
    ]
    assert await count(admin, tenant) == 1


@pytest.mark.parametrize("quicker_is", ["first", "second"])
async def test_a_key_of_two_callers_that_another_process_uses_meanwhile_makes_one_payment_each(
    tenant: Tenant, admin: Admin, engines: None, monkeypatch: pytest.MonkeyPatch, quicker_is: str
) -> None:
    slow, quick = (PaymentIntake(nudge_grace_seconds=5, timeout_seconds=30) for _ in range(2))
    callers = [tenant.device, tenant.staff]
    quicker = callers[0 if quicker_is == "first" else 1]
    raced = asyncio.Event()

    async def load_and_lose_a_race(execute: Execute, group: list[PaymentSubmission]) -> dict[int, Row]:
        found = await load_context(execute, group)
        if not raced.is_set():
            raced.set()
            await quick.accept_payment(submission(CASH, quicker, key="k-1"))
        return found

    monkeypatch.setattr(accept, "load_context", load_and_lose_a_race)
    results = await submit_concurrently(slow, *(submission(CASH, caller, key="k-1") for caller in callers))
    assert [isinstance(result, StoredAnswer) and result.is_replay for result in results] == [
        caller is quicker for caller in callers
    ]
    assert await count(admin, tenant) == 2


async def test_an_expired_key_means_a_new_payment(accepting: PaymentIntake, tenant: Tenant, admin: Admin) -> None:
    first = await accepting.accept_payment(submission(CASH, tenant.device, key="k-1"))
    await admin.execute(
        "UPDATE idempotency_records SET expires_at = now() WHERE merchant_id = %s", [tenant.merchant_id]
    )
    second = await accepting.accept_payment(submission(CASH, tenant.device, key="k-1", body=b"another"))
    assert second.resource_id != first.resource_id
    assert not second.is_replay
    assert await count(admin, tenant, "idempotency_records") == 1


async def test_client_reference_cannot_be_reused_with_any_key(accepting: PaymentIntake, tenant: Tenant) -> None:
    asked = replace(CASH, client_reference="till-1")
    await accepting.accept_payment(submission(asked, tenant.device))
    with pytest.raises(DuplicateResource) as raised:
        await accepting.accept_payment(submission(asked, tenant.device))
    assert raised.value.details[0].field == "client_reference"


async def test_a_client_reference_used_twice_in_a_group_makes_one_payment_and_one_conflict(
    accepting: PaymentIntake, tenant: Tenant, admin: Admin
) -> None:
    asked = replace(CASH, client_reference="till-1")
    results = await submit_concurrently(
        accepting,
        *[submission(CASH, tenant.device) for _ in range(3)],
        *[submission(asked, tenant.device) for _ in range(3)],
    )
    assert sum(isinstance(result, StoredAnswer) for result in results) == 4
    assert sum(isinstance(result, DuplicateResource) for result in results) == 2
    assert await count(admin, tenant) == 4


async def test_concurrent_uses_of_a_client_reference_in_several_processes_make_one_payment(
    tenant: Tenant, admin: Admin, engines: None
) -> None:
    asked = replace(CASH, client_reference="till-1")
    processes = [PaymentIntake(nudge_grace_seconds=5, timeout_seconds=30) for _ in range(8)]
    results = await asyncio.gather(
        *(process.accept_payment(submission(asked, tenant.device)) for process in processes), return_exceptions=True
    )
    assert sum(isinstance(result, StoredAnswer) for result in results) == 1
    assert sum(isinstance(result, DuplicateResource) for result in results) == 7
    assert await count(admin, tenant) == 1


async def test_conflict_with_another_process_fails_one_request_of_its_group(
    tenant: Tenant, admin: Admin, engines: None
) -> None:
    taken = replace(CASH, client_reference="till-1")
    one, two = (
        PaymentIntake(nudge_grace_seconds=5, timeout_seconds=30),
        PaymentIntake(nudge_grace_seconds=5, timeout_seconds=30),
    )
    plain = [submission(CASH, tenant.device) for _ in range(20)]
    results = await asyncio.gather(
        *(one.accept_payment(each) for each in [*plain[:10], submission(taken, tenant.device)]),
        *(two.accept_payment(each) for each in [*plain[10:], submission(taken, tenant.device)]),
        return_exceptions=True,
    )
    assert sum(isinstance(result, StoredAnswer) for result in results) == 21
    assert sum(isinstance(result, DuplicateResource) for result in results) == 1
    assert await count(admin, tenant) == 21


TAKES_THE_REFERENCE = b"""
    INSERT INTO payments
    SELECT (jsonb_populate_record(p, jsonb_build_object('id', p.id || 'x', 'client_reference', 'till-1'))).*
    FROM payments p WHERE id = %s
"""


TELLS = b"""
    INSERT INTO payment_history SELECT (jsonb_populate_record(h, jsonb_build_object('payment_id', h.payment_id || 'x'))).*
    FROM payment_history h WHERE payment_id = %s
"""


async def test_a_reference_taken_concurrently_fails_only_its_request(
    payments: PaymentMaker, stack: LocalStack, admin: Admin
) -> None:
    tenant, accepting = payments.tenant, payments.accepting
    model = await payments.pending(CASH)
    async with await AsyncConnection.connect(stack.urls.database) as quicker:
        for statement in (TAKES_THE_REFERENCE, TELLS):
            await quicker.execute(statement, [model])
        asked = [submission(CASH, tenant.device) for _ in range(6)]
        asked[4] = submission(replace(CASH, client_reference="till-1"), tenant.device)
        waiting = asyncio.ensure_future(submit_concurrently(accepting, *asked))
        blocked = b"SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        await eventually(lambda: all_of(admin, blocked), until=bool)
    results = await waiting
    assert isinstance(results.pop(4), DuplicateResource)
    assert all(isinstance(result, StoredAnswer) for result in results)


TAKES_THE_KEY = """
    INSERT INTO idempotency_records (merchant_id, method, path, key, fingerprint, status, body, created_at, expires_at)
    VALUES (%s, 'POST', '/api/v1/payments', 'k-1', '', 201, '', now(), now() + interval '1 day')
"""


@pytest.mark.parametrize("shared", ["keys", "references"])
async def test_groups_with_the_same_references_in_another_order_do_not_deadlock(
    payments: PaymentMaker, settings: Settings, stack: LocalStack, admin: Admin, shared: str
) -> None:
    tenant = payments.tenant
    model = await payments.pending(CASH)
    grace, patience = settings.nudge_grace_seconds, settings.lock_timeout_ms / 1000
    other = PaymentIntake(nudge_grace_seconds=grace, timeout_seconds=patience)

    def asked(number: int) -> PaymentSubmission:
        if shared == "keys":
            return submission(CASH, tenant.device, key=f"k-{number}")
        return submission(replace(CASH, client_reference=f"till-{number}"), tenant.device)

    async with await AsyncConnection.connect(stack.urls.database) as quicker:
        if shared == "keys":
            await quicker.execute(TAKES_THE_KEY, [tenant.merchant_id])
        else:
            for statement in (TAKES_THE_REFERENCE, TELLS):
                await quicker.execute(statement, [model])
        waiting = asyncio.ensure_future(submit_concurrently(payments.accepting, asked(0), asked(2), asked(1)))
        await wait_until_blocked_by(quicker, seen_by=admin)
        # All groups take references in sorted order, so this group has not taken its second reference yet.
        assert isinstance(await asyncio.wait_for(other.accept_payment(asked(2)), timeout=2), StoredAnswer)
        await quicker.rollback()
    assert not [result for result in await waiting if isinstance(result, ServiceUnavailable)]
    assert await count(admin, tenant) == 1 + 3


async def test_a_second_answer_to_a_key_is_not_stored(tenant: Tenant, admin: Admin, engines: None) -> None:
    key = submission(CASH, tenant.device, key="k-1").key
    async with caller_transaction(tenant.device) as connection:
        await store_answer(connection, tenant.merchant_id, key, StoredAnswer(201, b"first"))
    with pytest.raises(IdempotencyKeyInUse):
        async with caller_transaction(tenant.device) as connection:
            await store_answer(connection, tenant.merchant_id, key, StoredAnswer(201, b"second"))
    (row,) = await all_of(admin, b"SELECT body FROM idempotency_records WHERE merchant_id = %s", tenant.merchant_id)
    assert row["body"] == "first"


async def test_an_answer_is_not_stored_beside_a_record_that_has_disappeared(tenant: Tenant, engines: None) -> None:
    key = submission(CASH, tenant.device, key="k-1").key
    answer = AnswerToStore(tenant.merchant_id, key, StoredAnswer(201, b"{}"), is_taken=True)
    async with caller_transaction(tenant.device) as connection:
        with pytest.raises(IdempotencyKeyInUse):
            await record_rows(connection, [answer])
