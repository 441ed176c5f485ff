"""A message that kills or breaks its worker becomes a dead letter with its traceback; only an operator requeues it."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import uuid_utils

from mpac.stack.local_stack import LocalStack
from tests.factories import PaymentMaker, Signer, Tenant, time_passes
from tests.fakes import FakeProvider
from tests.harness import Api
from tests.integration.payments.evidence import Admin, all_of, evidence
from workers import dead_letters
from workflows.ops.count_open_rows import read_overview
from workflows.ops.dead_letters import store_dead_letter
from workflows.refunds.workload import PAYMENTS


@pytest.fixture
def stored_letters(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect dead letters in a list instead of the database, and return the list."""
    letters: list[dict[str, Any]] = []
    monkeypatch.setattr(
        dead_letters,
        "store_failure",
        lambda task, task_id, **rest: letters.append({"task": task, "id": task_id, **rest}),
    )
    return letters


@pytest.fixture
def message(stack: LocalStack) -> Iterator[Any]:
    """Yield a task with a redelivered message, as Celery passes it, on the real broker."""
    from celery import Celery  # noqa: PLC0415 - its import takes a third of a second

    app = Celery(broker=stack.urls.broker, set_as_current=False)
    request = SimpleNamespace(
        id=uuid_utils.uuid7().hex, args=[["pay_1"]], kwargs={}, delivery_info={"redelivered": True}
    )
    yield SimpleNamespace(app=app, name="payments.process", request=request)
    app.close()


def test_deliveries_of_an_ordinary_message_are_not_counted(message: Any, stored_letters: list[Any]) -> None:
    message.request.delivery_info = {"redelivered": False}
    assert not any(dead_letters.exceeded_max_deliveries(message) for _ in range(10))
    message.request.delivery_info = None
    assert not dead_letters.exceeded_max_deliveries(message)
    assert stored_letters == []


def test_a_redelivered_message_is_tried_three_times(message: Any, stored_letters: list[Any]) -> None:
    assert [dead_letters.exceeded_max_deliveries(message) for _ in range(3)] == [False, False, True]
    assert stored_letters == [
        {"task": "payments.process", "id": message.request.id, "arguments": [[["pay_1"]], {}], "deliveries": 4}
    ]


def test_a_task_whose_nudge_the_broker_did_not_take_is_not_poison(monkeypatch: pytest.MonkeyPatch) -> None:
    from celery import Celery  # noqa: PLC0415 - its import takes a third of a second

    kept: list[Any] = []
    monkeypatch.setattr(dead_letters, "store_dead_letter", lambda task, **rest: kept.append(task))
    monkeypatch.setattr(dead_letters, "run", lambda work: work)
    away = Celery(broker="redis://127.0.0.1:1", set_as_current=False)
    for error in (ValueError("a bug"), _refused_by(away)):
        dead_letters.store_failure("settlements.close", "t-1", arguments=[[], {}], error=error)
    away.close()
    assert kept == ["settlements.close"], "the bug alone; what was to be nudged is due, and a sweep finds it"


def _refused_by(broker: Any) -> Exception:
    """Return the error that a publisher gets while the broker is unreachable."""
    with pytest.raises(Exception) as refused:  # noqa: PT011 - which it is, is the question
        broker.send_task("settlements.close", retry=False)
    return refused.value


async def test_a_dead_letter_is_stored_completely(engines: None, admin: Admin) -> None:
    task_id = uuid_utils.uuid7().hex
    await store_dead_letter(
        "payments.process",
        task_id=task_id,
        arguments=[[["pay_1"]], {}],
        deliveries=3,
        reason="OSError: x",
        traceback="Trace",
    )
    (letter,) = await all_of(admin, b"SELECT * FROM dead_letters WHERE task_id = %s", task_id)
    assert (letter["task"], letter["arguments"], letter["deliveries"]) == ("payments.process", [[["pay_1"]], {}], 3)
    assert (letter["reason"], letter["traceback"], letter["requeued_at"]) == ("OSError: x", "Trace", None)


NESTED: Any = []
for _ in range(5_000):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ("argument", "kept"),
    [
        ("a\x00b", r"a\u0000b"),
        ("\ud800", r"\ud800"),
        (10**30, "1000000000000000000000000000000"),
        (NESTED, "nested too deep"),
        ("x" * 70_000, "xxx"),
        ("4111 1111 1111 1111", "holds card data in 0.0"),
    ],
    ids=["NUL", "surrogate", "integer", "nested", "long", "card"],
)
async def test_arguments_that_cannot_be_stored_as_json_are_stored_as_text(
    engines: None, admin: Admin, argument: Any, kept: str
) -> None:
    task_id = uuid_utils.uuid7().hex
    texts = {"reason": "TypeError: 4111111111111111\x00", "traceback": "4111111111111111 \ud800"}
    await store_dead_letter("settlements.close", task_id=task_id, arguments=[[argument], {}], deliveries=1, **texts)
    (letter,) = await all_of(admin, b"SELECT * FROM dead_letters WHERE task_id = %s", task_id)
    assert (letter["arguments"], kept in letter["message"]) == ([], True), letter["message"]
    assert "4111" not in str(letter)


async def quarantined(payments: PaymentMaker, admin: Admin) -> tuple[str, str]:
    """Create a payment that kills every worker that claims it; return its id and its dead letter's id."""
    payment_id = await payments.pending()
    for _ in range(4):
        await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=30)
        await time_passes(admin, payment_id, seconds=31)
    (letter,) = await all_of(admin, b"SELECT id FROM dead_letters WHERE entity_id = %s", payment_id)
    return payment_id, letter["id"]


async def test_a_requeued_quarantined_payment_is_inquired_about_before_any_charge(
    api: Api, tenant: Tenant, signer: Signer, payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id, letter_id = await quarantined(payments, admin)
    operator = signer.user(tenant, role="system_op")
    listed = await api.get("/ops/dead-letters?limit=200", as_=operator)
    assert letter_id in [letter["id"] for letter in listed.body["data"]]
    provider.moved[f"{payment_id}:1"] = 1_000
    answer = await api.post(f"/ops/dead-letters/{letter_id}/requeue", as_=operator)
    assert (answer.status, answer.body["task"]) == (200, "payments.process")
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert found.status == "completed"
    assert found.events[-2:] == ["requeue", "complete"]
    assert provider.calls == [("inquire", f"{payment_id}:1")]


async def test_a_letter_is_requeued_once(
    api: Api, tenant: Tenant, signer: Signer, payments: PaymentMaker, admin: Admin
) -> None:
    _, letter_id = await quarantined(payments, admin)
    operator = signer.user(tenant, role="system_op")
    assert (await api.post(f"/ops/dead-letters/{letter_id}/requeue", as_=operator)).status == 200
    again = await api.post(f"/ops/dead-letters/{letter_id}/requeue", as_=operator)
    assert (again.status, again.code) == (409, "INVALID_STATUS_TRANSITION")


@pytest.mark.parametrize("role", ["staff", "store_manager", "merchant_admin", "psp_admin"])
async def test_only_operators_see_dead_letters(api: Api, tenant: Tenant, signer: Signer, role: str) -> None:
    token = signer.user(tenant, role=role)
    for answer in (
        await api.get("/ops/dead-letters", as_=token),
        await api.post("/ops/dead-letters/ddl_1/requeue", as_=token),
        await api.post("/ops/dead-letters/ddl_1/close", {"reason": "r"}, as_=token),
        await api.call("PUT", "/ops/maintenance", {"enabled": True}, as_=token),
    ):
        assert (answer.status, answer.code) == (403, "AUTHORIZATION_ERROR")


async def test_an_unknown_dead_letter_is_404(api: Api, tenant: Tenant, signer: Signer) -> None:
    operator = signer.user(tenant, role="system_op")
    for action, body in (("requeue", None), ("close", {"reason": "r"})):
        answer = await api.post(f"/ops/dead-letters/ddl_unknown/{action}", body, as_=operator)
        assert (answer.status, answer.code) == (404, "RESOURCE_NOT_FOUND")


async def test_closing_a_dead_letter_needs_a_reason_and_repeating_it_changes_nothing(
    api: Api, tenant: Tenant, signer: Signer, payments: PaymentMaker, admin: Admin
) -> None:
    _, letter_id = await quarantined(payments, admin)
    operator = signer.user(tenant, role="system_op")
    path = f"/ops/dead-letters/{letter_id}"
    closed = await api.post(f"{path}/close", {"reason": "a test of the old release"}, as_=operator)
    assert (closed.status, closed.body["close_reason"]) == (200, "a test of the old release")
    assert closed.body["closed_by"] == "usr_system_op"
    again = await api.post(f"{path}/close", {"reason": "a test of the old release"}, as_=operator)
    assert (again.status, again.body) == (200, closed.body)
    other = await api.post(f"{path}/close", {"reason": "another"}, as_=operator)
    assert (other.status, other.code, other.details[0]["field"]) == (409, "INVALID_STATUS_TRANSITION", "closed_at")
    requeued = await api.post(f"{path}/requeue", as_=operator)
    assert (requeued.status, requeued.details[0]["field"]) == (409, "closed_at")


async def test_a_requeued_letter_cannot_be_closed(
    api: Api, tenant: Tenant, signer: Signer, payments: PaymentMaker, admin: Admin
) -> None:
    _, letter_id = await quarantined(payments, admin)
    operator = signer.user(tenant, role="system_op")
    assert (await api.post(f"/ops/dead-letters/{letter_id}/requeue", as_=operator)).status == 200
    answer = await api.post(f"/ops/dead-letters/{letter_id}/close", {"reason": "r"}, as_=operator)
    assert (answer.status, answer.details[0]["field"]) == (409, "requeued_at")


@pytest.mark.parametrize(
    "body", [None, {}, {"reason": ""}, {"reason": " "}, {"reason": None}, {"reason": "r" * 501}, {"reason": "a\x00b"}]
)
async def test_a_letter_is_not_closed_without_a_reason(
    api: Api, tenant: Tenant, signer: Signer, body: dict[str, Any] | None
) -> None:
    answer = await api.post("/ops/dead-letters/ddl_1/close", body, as_=signer.user(tenant, role="system_op"))
    assert answer.status in {400, 422}, answer.body
    assert answer.status == 422 or body is None


async def test_a_card_number_in_the_reason_is_refused(api: Api, tenant: Tenant, signer: Signer) -> None:
    operator = signer.user(tenant, role="system_op")
    answer = await api.post("/ops/dead-letters/ddl_1/close", {"reason": "4111 1111 1111 1111"}, as_=operator)
    assert (answer.status, answer.details[0]["field"]) == (422, "reason")
    assert "4111" not in str(answer.body)


async def test_gauge_and_filter_count_only_open_dead_letters(
    api: Api, tenant: Tenant, signer: Signer, payments: PaymentMaker, admin: Admin
) -> None:
    operator = signer.user(tenant, role="system_op")
    before = (await read_overview()).dead_letters
    payment_id, first = await quarantined(payments, admin)
    _, second = await quarantined(payments, admin)
    assert (await read_overview()).dead_letters == before + 2
    assert (await api.post(f"/ops/dead-letters/{first}/requeue", as_=operator)).status == 200
    assert (await api.post(f"/ops/dead-letters/{second}/close", {"reason": "r"}, as_=operator)).status == 200
    assert (await read_overview()).dead_letters == before

    async def listed(query: str) -> set[str]:
        answer = await api.get(f"/ops/dead-letters?limit=200{query}", as_=operator)
        assert answer.status == 200
        return {letter["id"] for letter in answer.body["data"]} & {first, second}

    assert await listed("") == {first, second}
    assert await listed("&open=false") == {first, second}
    assert await listed("&open=true") == set()
    assert (await api.get("/ops/dead-letters?open=perhaps", as_=operator)).status == 400
    for _ in range(4):
        await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=30)
        await time_passes(admin, payment_id, seconds=31)
    assert (await read_overview()).dead_letters == before + 1


async def test_a_dead_letter_without_a_task_can_only_be_closed(
    api: Api, tenant: Tenant, signer: Signer, admin: Admin
) -> None:
    task_id = uuid_utils.uuid7().hex
    await store_dead_letter(
        "unreadable", task_id=task_id, arguments=[], deliveries=1, reason="r", traceback="", message="body: ?"
    )
    (letter,) = await all_of(admin, b"SELECT id FROM dead_letters WHERE task_id = %s", task_id)
    operator = signer.user(tenant, role="system_op")
    answer = await api.post(f"/ops/dead-letters/{letter['id']}/requeue", as_=operator)
    assert (answer.status, answer.details) == (
        409,
        [{"field": "message", "issue": "No task can be made of this message; close the letter instead"}],
    )
    closed = await api.post(f"/ops/dead-letters/{letter['id']}/close", {"reason": "r"}, as_=operator)
    assert (closed.status, closed.body["message"]) == (200, "body: ?")


async def test_a_letter_about_no_payment_or_refund_is_requeued(
    api: Api, tenant: Tenant, signer: Signer, admin: Admin
) -> None:
    task_id = uuid_utils.uuid7().hex
    arguments = [[["stl_of_nobody"]], {}]
    await store_dead_letter(
        "settlements.close", task_id=task_id, arguments=arguments, deliveries=3, reason="r", traceback=""
    )
    (letter,) = await all_of(admin, b"SELECT id FROM dead_letters WHERE task_id = %s", task_id)
    operator = signer.user(tenant, role="system_op")
    answer = await api.post(f"/ops/dead-letters/{letter['id']}/requeue", as_=operator)
    assert (answer.status, answer.body["task"]) == (200, "settlements.close")
