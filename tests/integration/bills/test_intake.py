"""Concurrent bills share a transaction, and whatever it leaves out is decided with its order locked."""

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
from tests.factories import build_key, move_device
from tests.harness import Api
from tests.integration.bills.bill_helpers import Admin, bill_of
from tests.integration.orders.order_helpers import open_order
from tests.integration.payments.evidence import all_of
from tests.integration.refunds.refund_helpers import RefundMaker
from tests.polling import GENEROUS_SECONDS, wait_until_blocked_by
from workflows.bills import intake as module
from workflows.bills.create import bill_orders
from workflows.bills.intake import BillIntake, BillSubmission
from workflows.devices.states import DeviceEvent
from workflows.errors import (
    DuplicateResource,
    IdempotencyKeyReused,
    NotAuthenticated,
    NotAuthorized,
    ResourceNotFound,
)
from workflows.requests.idempotency import Key, StoredAnswer, store_or_replay
from workflows.tenants.caller import Caller


@pytest.fixture
def intake(engines: None) -> BillIntake:
    return BillIntake(timeout_seconds=GENEROUS_SECONDS)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that collects the orders of requests that are left to ``bill_orders``."""
    seen: list[str] = []

    async def counted(order_ids: list[str], **rest: Any) -> StoredAnswer:
        seen.extend(order_ids)
        return await bill_orders(order_ids, **rest)

    monkeypatch.setattr(module, "bill_orders", counted)
    return seen


def submission(order_id: str, caller: Caller, key: Key | None = None) -> BillSubmission:
    body = orjson.dumps({"order_id": order_id})
    return BillSubmission(order_id, caller, key or build_key(caller, "/bills", body=body), "req_1")


async def orders_of(api: Api, refunds: RefundMaker, number: int) -> list[str]:
    return [(await open_order(api, refunds.tenant))["id"] for _ in range(number)]


def numbers_of(*answers: Any) -> list[int]:
    """Return the numbers of bills within their day, in ascending order."""
    return sorted(int(orjson.loads(answer.body)["bill_number"].partition("-")[2]) for answer in answers)


async def test_each_caller_of_a_group_gets_its_own_bill_or_error(
    api: Api, refunds: RefundMaker, intake: BillIntake, make_tenant: MakeTenant, left: list[str]
) -> None:
    one, two, known, billed = await orders_of(api, refunds, 4)
    me, suspended = refunds.tenant.device, await make_tenant()
    stranger = (await make_tenant()).device
    await move_device(suspended, suspended.device_id, DeviceEvent.SUSPEND)
    repeated = submission(known, me)
    first = await intake.create_bill(repeated)
    await bill_of(api, refunds.tenant, billed)
    found = await asyncio.gather(
        *(
            intake.create_bill(each)
            for each in (
                submission(one, me),
                submission(two, refunds.tenant.staff),
                repeated,
                submission(two, me, replace(repeated.key, fingerprint="other", meaning="other:")),
                submission(one, stranger),
                submission("ord_none", me),
                submission(one, replace(me, id=suspended.device_id)),
                submission(one, replace(me, client_id="cli_replaced")),
                submission(billed, me),
            )
        ),
        return_exceptions=True,
    )
    assert [type(each) for each in found[:3]] == [StoredAnswer] * 3
    assert numbers_of(first, *found[:2]) == [1, 3, 4]
    assert isinstance(found[2], StoredAnswer)
    assert (found[2].is_replay, found[2].body) == (True, first.body)
    assert [type(each) for each in found[3:]] == [
        IdempotencyKeyReused,
        *[ResourceNotFound] * 2,
        NotAuthorized,
        NotAuthenticated,
        DuplicateResource,
    ]
    assert sorted(left) == sorted([two, one, "ord_none", billed])
    again = await asyncio.gather(*(api.get(f"/bills?order_id={each}", as_=refunds.tenant) for each in (one, two)))
    assert [[bill["order_ids"] for bill in answer.body["data"]] for answer in again] == [[[one]], [[two]]]


async def test_answer_and_history_of_a_bill_are_those_of_a_bill_created_apart(
    api: Api, refunds: RefundMaker, intake: BillIntake, admin: Admin
) -> None:
    rows: list[list[Any]] = []
    bodies: list[dict[str, Any]] = []
    for order_id, create in zip(await orders_of(api, refunds, 2), ("group", "apart"), strict=True):
        asked = submission(order_id, refunds.tenant.device)
        if create == "group":
            answer = await intake.create_bill(asked)
        else:
            answer = await bill_orders(
                [order_id], field="order_id", caller=asked.caller, key=asked.key, request_id="req_1"
            )
        body = orjson.loads(answer.body)
        assert (await api.get(f"/bills/{body['id']}", as_=refunds.tenant)).body == body
        history = await all_of(admin, b"SELECT * FROM bill_history WHERE bill_id = %s", body["id"])
        rows.append([{**row, "bill_id": None, "at": None} for row in history])
        bodies.append(body)
    assert rows[0] == rows[1]
    own = ("id", "bill_number", "order_ids", "item_ids", "created_at", "updated_at")
    grouped, apart = ({name: value for name, value in body.items() if name not in own} for body in bodies)
    assert grouped == apart


async def test_locked_order_does_not_delay_the_rest_of_its_group(
    api: Api, refunds: RefundMaker, intake: BillIntake, admin: Admin, stack: LocalStack
) -> None:
    locked, free = await orders_of(api, refunds, 2)
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as foreign:
        await foreign.execute("SELECT FROM orders WHERE id = %s FOR NO KEY UPDATE", [locked])
        waiting, done = (
            asyncio.ensure_future(intake.create_bill(submission(each, refunds.tenant.device)))
            for each in (locked, free)
        )
        assert numbers_of(await done) == [1]
        await wait_until_blocked_by(foreign, seen_by=admin)
    assert numbers_of(await waiting) == [2]


async def test_second_request_of_a_group_for_an_order_is_refused(
    api: Api, refunds: RefundMaker, intake: BillIntake
) -> None:
    (order_id,) = await orders_of(api, refunds, 1)
    asked = [submission(order_id, refunds.tenant.device) for _ in range(3)]
    found = await asyncio.gather(*(intake.create_bill(each) for each in asked), return_exceptions=True)
    assert sorted(type(each).__name__ for each in found) == [*["DuplicateResource"] * 2, "StoredAnswer"]


async def test_key_that_is_used_after_the_look_up_answers_and_leaves_no_gap_in_the_numbers(
    api: Api, refunds: RefundMaker, intake: BillIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders, me = await orders_of(api, refunds, 2), refunds.tenant.device
    asked = [submission(each, me) for each in orders]
    refuse = partial(store_or_replay, me, asked[0].key, merchant_id=refunds.tenant.merchant_id, status=422, body=b"{}")
    look_up = module._look_up

    async def then(*args: Any) -> Any:
        found = await look_up(*args)
        monkeypatch.setattr(module, "_look_up", look_up)
        await refuse()
        return found

    monkeypatch.setattr(module, "_look_up", then)
    refused, billed = await asyncio.gather(*(intake.create_bill(each) for each in asked))
    assert (refused.status, refused.is_replay) == (422, True)
    assert numbers_of(billed) == [1]


async def test_order_that_a_wrong_statement_locks_is_not_billed_for_another_tenant(
    api: Api, refunds: RefundMaker, intake: BillIntake, make_tenant: MakeTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, theirs = await orders_of(api, refunds, 2)
    unfiltered = re.sub(r"CASE CAST\(i\.scope AS text\).*?ELSE false END", "true", module._LOCK.text, flags=re.S)
    assert unfiltered != module._LOCK.text
    monkeypatch.setattr(module, "_LOCK", text(unfiltered))
    stranger = (await make_tenant()).device
    found = await asyncio.gather(
        *(intake.create_bill(submission(*each)) for each in ((own, refunds.tenant.device), (theirs, stranger))),
        return_exceptions=True,
    )
    assert [type(each) for each in found] == [StoredAnswer, RuntimeError]


async def test_a_store_whose_counter_is_locked_delays_no_bill_of_another_store(
    api: Api, refunds: RefundMaker, intake: BillIntake, make_tenant: MakeTenant, admin: Admin, stack: LocalStack
) -> None:
    other = await make_tenant()
    orders = await orders_of(api, refunds, 3)
    theirs = (await open_order(api, other))["id"]
    mine = [submission(order, refunds.tenant.device) for order in orders]
    await intake.create_bill(mine[0])
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as foreign:
        await foreign.execute(
            "SELECT FROM number_counters WHERE store_id = %s FOR UPDATE", [refunds.tenant.device.store_id]
        )
        waiting = [asyncio.create_task(intake.create_bill(asked)) for asked in mine[1:]]
        await wait_until_blocked_by(foreign, seen_by=admin)
        assert (await intake.create_bill(submission(theirs, other.device))).status == 201
        assert not any(task.done() for task in waiting)
    assert numbers_of(*await asyncio.gather(*waiting)) == [2, 3]
