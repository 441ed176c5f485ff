"""A repeated request gets the answer of its key before any other check, in whichever process it runs.

The test locks the row that both requests need until both wait for it, so that each has begun before the other has ended.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from psycopg import AsyncConnection

from mpac.stack.local_stack import LocalStack
from tests.factories import CASH, PaymentMaker, Tenant, submission
from tests.harness import Answer, Api
from tests.integration.api.keyed_requests import (
    Admin,
    Posting,
    Shop,
    a_bill,
    a_combined_bill,
    a_full_refund,
    a_payment_of_a_whole_bill,
    a_split,
    a_statement,
)
from tests.integration.payments.evidence import all_of
from tests.integration.payments.payment_helpers import count
from tests.polling import eventually
from workflows.errors import BalanceUnavailable, DuplicateResource
from workflows.payments.accept import PaymentIntake
from workflows.requests.idempotency import StoredAnswer

Making = Callable[[Shop], Awaitable[Posting]]
WAITING = 4  # the number of connections for statement uploads (MPAC_LONG_CALLS)


@pytest.fixture
def shop(api: Api, admin: Admin, payments: PaymentMaker) -> Shop:
    return Shop(api, admin, payments)


async def wait_until_blocked(admin: Admin, number: int) -> None:
    """Wait until at least ``number`` connections wait for a lock."""
    query = b"SELECT DISTINCT pid FROM pg_locks WHERE NOT granted"
    await eventually(lambda: all_of(admin, query), until=lambda rows: len(rows) >= number)


HOLD = {
    "": "SELECT pg_advisory_xact_lock(hashtextextended('statements of ' || %s, 0))",
    **{table: f"SELECT 1 FROM {table} WHERE id = %s FOR UPDATE" for table in ("bills", "orders", "payments")},
}


@pytest.mark.parametrize(
    "making", [a_bill, a_combined_bill, a_split, a_full_refund, a_statement], ids=lambda making: making.__name__
)
async def test_requests_with_one_key_that_wait_for_one_row_get_one_answer(
    shop: Shop, stack: LocalStack, making: Making
) -> None:
    posting = await making(shop)
    as_ = shop.api.signer.user(shop.tenant, role="store_manager")
    async with await AsyncConnection.connect(stack.urls.database) as holder:
        await holder.execute(HOLD[posting.table].encode(), [posting.row_id])
        asked = [asyncio.ensure_future(posting.send(shop.api, as_, key="0001")) for _ in range(WAITING)]
        await wait_until_blocked(shop.admin, WAITING)
        await holder.rollback()
    answers: list[Answer] = await asyncio.gather(*asked)
    assert [answer.status for answer in answers] == [201] * WAITING, [answer.body for answer in answers]
    assert len({answer.raw for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1


def processes(number: int) -> list[PaymentIntake]:
    """Return intakes as separate API processes would have them."""
    return [PaymentIntake(nudge_grace_seconds=5, timeout_seconds=30) for _ in range(number)]


@pytest.mark.parametrize("reference", [None, "till-1"])
async def test_payments_of_a_whole_bill_with_one_key_in_several_processes_get_one_answer(
    shop: Shop, stack: LocalStack, reference: str | None
) -> None:
    tenant = shop.tenant
    posting = await a_payment_of_a_whole_bill(shop)
    request = replace(CASH, amount=990, bill_id=posting.row_id, client_reference=reference)
    async with await AsyncConnection.connect(stack.urls.database) as holder:
        await holder.execute(HOLD["bills"].encode(), [posting.row_id])
        group = [submission(request, tenant.device, key="0001") for _ in range(WAITING)]
        others = [submission(replace(CASH, amount=991, bill_id=posting.row_id), tenant.device)]  # always refused
        asked = [
            asyncio.ensure_future(process.accept_payment(each))
            for process, each in zip(processes(WAITING + len(others)), group + others, strict=True)
        ]
        await wait_until_blocked(shop.admin, len(asked))
        await holder.rollback()
    *results, other = await asyncio.gather(*asked, return_exceptions=True)
    stored = [result for result in results if isinstance(result, StoredAnswer)]
    assert len(stored) == WAITING, results
    assert len({result.body for result in stored}) == 1
    assert sum(not result.is_replay for result in stored) == 1
    assert isinstance(other, BalanceUnavailable)


async def test_a_repeat_of_an_abandoned_request_gets_the_answer_of_its_key(shop: Shop, stack: LocalStack) -> None:
    """The first request is answered with a 503 while its transaction waits for a lock.

    The transaction goes on. The repeat with the same key waits too, gets the stored answer, and only one payment exists.
    """
    tenant = shop.tenant
    posting = await a_payment_of_a_whole_bill(shop)
    request = replace(CASH, amount=990, bill_id=posting.row_id)
    impatient = PaymentIntake(nudge_grace_seconds=5, timeout_seconds=0.2)
    patient = PaymentIntake(nudge_grace_seconds=5, timeout_seconds=30)
    async with await AsyncConnection.connect(stack.urls.database) as holder:
        await holder.execute(HOLD["bills"].encode(), [posting.row_id])
        with pytest.raises(Exception, match="temporarily unavailable"):
            await impatient.accept_payment(submission(request, tenant.device, key="0001"))
        again = asyncio.ensure_future(patient.accept_payment(submission(request, tenant.device, key="0001")))
        await wait_until_blocked(shop.admin, 2)
        await holder.rollback()
    assert isinstance(await again, StoredAnswer)
    assert await count(shop.admin, tenant) == 1


async def test_a_client_reference_is_used_up_only_by_a_stored_payment(shop: Shop, stack: LocalStack) -> None:
    """Four requests with the same reference form one group.

    The first two exceed the bill, the third pays it, and the fourth is refused as a duplicate.
    """
    tenant: Tenant = shop.tenant
    posting = await a_payment_of_a_whole_bill(shop)
    accepting = shop.payments.accepting
    amounts = [991, 2_000, 990, 1]
    asked = [
        submission(replace(CASH, amount=amount, bill_id=posting.row_id, client_reference="till-1"), tenant.device)
        for amount in amounts
    ]
    async with await AsyncConnection.connect(stack.urls.database) as holder:
        await holder.execute(HOLD["bills"].encode(), [posting.row_id])
        # The first request runs alone and waits; the others form one group behind it.
        first = asyncio.ensure_future(
            accepting.accept_payment(submission(replace(CASH, amount=5_000, bill_id=posting.row_id), tenant.device))
        )
        await wait_until_blocked(shop.admin, 1)
        waiting = [asyncio.ensure_future(accepting.accept_payment(each)) for each in asked]
        await asyncio.sleep(0)
        await holder.rollback()
    results: list[Any] = await asyncio.gather(first, *waiting, return_exceptions=True)
    kinds = [type(result).__name__ for result in results]
    assert kinds == ["BalanceUnavailable"] * 3 + ["StoredAnswer", "DuplicateResource"]


async def test_a_caller_can_find_the_payment_of_a_reference_that_is_in_use(shop: Shop) -> None:
    posting = await a_payment_of_a_whole_bill(shop)
    body = {**posting.body, "client_reference": "till-1"}
    results = await asyncio.gather(
        *(
            shop.payments.accepting.accept_payment(
                submission(
                    replace(CASH, amount=body["amount"] + n, bill_id=posting.row_id, client_reference="till-1"),
                    shop.tenant.device,
                )
            )
            for n in range(20, 0, -1)
        ),
        return_exceptions=True,
    )
    assert not [result for result in results if isinstance(result, DuplicateResource | StoredAnswer)]
    assert await count(shop.admin, shop.tenant) == 0
