"""Concurrent refunds share two statements, and whatever these leave out is decided with its payment locked."""

import asyncio
import re
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import psycopg
import pytest
from sqlalchemy import text

from mpac.stack.local_stack import LocalStack
from tests.conftest import MakeTenant
from tests.factories import WHY, move_device, refund_key
from tests.integration.payments.evidence import all_of
from tests.integration.refunds.refund_helpers import Admin, RefundMaker, evidence, sums
from tests.polling import GENEROUS_SECONDS, wait_until_blocked_by
from workflows.devices.states import DeviceEvent
from workflows.errors import IdempotencyKeyReused, InvalidRequest, NotAuthenticated, NotAuthorized, ResourceNotFound
from workflows.refunds import intake as module
from workflows.refunds.intake import RefundIntake, RefundSubmission
from workflows.refunds.request import RefundRequest, request_refund
from workflows.requests.idempotency import Key, StoredAnswer, store_or_replay
from workflows.tenants.caller import Caller


@pytest.fixture
def intake(engines: None) -> RefundIntake:
    return RefundIntake(nudge_grace_seconds=5, timeout_seconds=GENEROUS_SECONDS)


def submission(payment_id: str, caller: Caller, amount: int | None = None, key: Key | None = None) -> RefundSubmission:
    return RefundSubmission(
        payment_id,
        RefundRequest(amount, WHY["reason"], WHY["staff_code"]),
        caller,
        key or refund_key(payment_id, caller),
        "req_1",
    )


@pytest.fixture
def repeated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that collects the payments of requests that are repeated with their payment locked."""
    seen: list[str] = []
    request = request_refund

    async def counted(payment_id: str, *args: Any, **rest: Any) -> StoredAnswer:
        seen.append(payment_id)
        return await request(payment_id, *args, **rest)

    monkeypatch.setattr(module, "request_refund", counted)
    return seen


def after_look_up(monkeypatch: pytest.MonkeyPatch, happens: Any) -> None:
    """Let ``happens()`` run once, between the look-up of the next group and its write."""
    look_up = module._look_up

    async def then(group: Any) -> Any:
        found = await look_up(group)
        monkeypatch.setattr(module, "_look_up", look_up)
        await happens()
        return found

    monkeypatch.setattr(module, "_look_up", then)


async def test_each_caller_of_a_group_gets_its_own_refund_or_error(
    refunds: RefundMaker, intake: RefundIntake, make_tenant: MakeTenant, admin: Admin, repeated: list[str]
) -> None:
    paid = [await refunds.paid() for _ in range(3)]
    me, suspended = refunds.tenant.device, await make_tenant()
    await move_device(suspended, suspended.device_id, DeviceEvent.SUSPEND)
    known = submission(paid[2], me, 1)
    first = await intake.accept_refund(known)
    found = await asyncio.gather(
        *(
            intake.accept_refund(one)
            for one in (
                submission(paid[0], me, 300),
                submission(paid[1], me),
                known,
                replace(known, key=replace(known.key, fingerprint="other", meaning="other:")),
                submission(paid[0], (await make_tenant()).device),
                submission("pay_none", me),
                submission(paid[2], replace(me, id=suspended.device_id), 1),
                submission(paid[2], replace(me, client_id="cli_replaced"), 1),
                submission(paid[2], me, 1_001),
            )
        ),
        return_exceptions=True,
    )
    assert [type(one) for one in found] == [
        *[StoredAnswer] * 3,
        IdempotencyKeyReused,
        *[ResourceNotFound] * 2,
        NotAuthorized,
        NotAuthenticated,
        InvalidRequest,
    ]
    assert isinstance(found[2], StoredAnswer)
    assert (found[2].is_replay, found[2].body) == (True, first.body)
    assert [await sums(admin, payment_id) for payment_id in paid] == [
        ("completed", 300, 0),
        ("completed", 1_000, 0),
        ("completed", 1, 0),
    ]
    assert isinstance(found[0], StoredAnswer)
    stored = await evidence(admin, orjson.loads(found[0].body)["id"])
    assert (stored.status, stored.events) == ("pending", ["create"])
    assert repeated == []


async def test_second_refund_of_a_payment_in_a_group_is_decided_with_the_payment_locked(
    refunds: RefundMaker, intake: RefundIntake, admin: Admin, repeated: list[str]
) -> None:
    payment_id = await refunds.paid()
    asked = [submission(payment_id, refunds.tenant.device, 600) for _ in range(3)]
    found = await asyncio.gather(*(intake.accept_refund(one) for one in asked), return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["InvalidRequest", "InvalidRequest", "StoredAnswer"]
    assert await sums(admin, payment_id) == ("completed", 600, 0)
    assert repeated == [payment_id] * 2


async def test_locked_payment_does_not_delay_the_rest_of_its_group(
    refunds: RefundMaker, intake: RefundIntake, admin: Admin, stack: LocalStack
) -> None:
    locked, free = await refunds.paid(), await refunds.paid()
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as foreign:
        await foreign.execute("SELECT FROM payments WHERE id = %s FOR UPDATE", [locked])
        waiting, done = (
            asyncio.ensure_future(intake.accept_refund(submission(one, refunds.tenant.device)))
            for one in (locked, free)
        )
        await done
        await wait_until_blocked_by(foreign, seen_by=admin)
        assert await sums(admin, locked) == ("completed", 0, 0)
    await waiting
    assert [await sums(admin, one) for one in (locked, free)] == [("completed", 1_000, 0)] * 2


async def test_payment_that_changes_after_the_look_up_is_checked_again(
    refunds: RefundMaker, intake: RefundIntake, admin: Admin, monkeypatch: pytest.MonkeyPatch, repeated: list[str]
) -> None:
    payment_id = await refunds.paid()
    after_look_up(monkeypatch, lambda: refunds.ask(payment_id, 300))
    answer = await intake.accept_refund(submission(payment_id, refunds.tenant.device))
    assert orjson.loads(answer.body)["amount"] == 700
    assert await sums(admin, payment_id) == ("completed", 1_000, 0)
    assert repeated == [payment_id]


async def test_key_that_is_used_after_the_look_up_answers_and_nothing_is_reserved(
    refunds: RefundMaker, intake: RefundIntake, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id, other = await refunds.paid(), await refunds.paid()
    me = refunds.tenant.device
    mine = submission(payment_id, me)
    merchant_id = refunds.tenant.merchant_id
    refuse = partial(store_or_replay, me, mine.key, merchant_id=merchant_id, status=422, body=b"{}")
    after_look_up(monkeypatch, refuse)
    found = await asyncio.gather(*(intake.accept_refund(one) for one in (mine, submission(other, me))))
    assert [(answer.status, answer.is_replay) for answer in found] == [(422, True), (201, False)]
    assert await sums(admin, payment_id) == ("completed", 0, 0)
    assert await sums(admin, other) == ("completed", 1_000, 0)


async def test_two_callers_with_the_same_key_each_get_their_refund(
    refunds: RefundMaker, intake: RefundIntake, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    device, staff = refunds.tenant.device, refunds.tenant.staff
    key = refund_key(payment_id, device)
    for caller, own in ((device, key), (staff, replace(key, caller=staff.identity))):
        for is_replay in (False, True):
            answer = await intake.accept_refund(submission(payment_id, caller, 100, own))
            assert answer.is_replay is is_replay
    assert await sums(admin, payment_id) == ("completed", 200, 0)


async def test_payment_that_a_wrong_statement_finds_is_not_refunded_for_another_tenant(
    refunds: RefundMaker, intake: RefundIntake, admin: Admin, make_tenant: MakeTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = await refunds.paid()
    unfiltered = re.sub(r"CASE CAST\(i\.scope AS text\).*?ELSE false END", "true", module._LOOK_UP.text, flags=re.S)
    assert unfiltered != module._LOOK_UP.text
    monkeypatch.setattr(module, "_LOOK_UP", text(unfiltered))
    with pytest.raises(RuntimeError, match="another tenant"):
        await intake.accept_refund(submission(payment_id, (await make_tenant()).device))
    assert await all_of(admin, b"SELECT FROM refunds WHERE payment_id = %s", payment_id) == []
