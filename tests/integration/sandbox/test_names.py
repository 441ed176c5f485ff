"""Every answer, errors included, names its charge or refund, so that a client can detect a stray answer."""

from typing import Any

import pytest

from tests.integration.sandbox.harness import HOUR_MS, Answer, Sandbox, new_payment_id, order

NAMES = ("reference", "payment_id", "currency")


def named(answer: Answer) -> dict[str, Any]:
    return {name: answer.body[name] for name in NAMES if name in answer.body}


def names(payment: str) -> dict[str, str]:
    return {"reference": f"{payment}:1", "payment_id": payment, "currency": "JPY"}


@pytest.mark.parametrize("path", ["/v1/charges", "/v1/codes", "/v1/refunds"])
@pytest.mark.parametrize(
    ("fate", "status"), [("unavailable:1", 503), ("rate_limited:1", 429), ("error_500_before_charge", 500), ("?", 400)]
)
async def test_a_refusal_names_its_request(sandbox: Sandbox, path: str, fate: str, status: int) -> None:
    payment = new_payment_id()
    body = order(f"{payment}:1", fate=fate) | {"expires_in": 300, "charge_reference": "x:1"}
    answer = await sandbox.call("POST", path, body=body)
    assert (answer.status, named(answer)) == (status, names(payment))


async def test_a_refused_call_without_the_key_names_its_request(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    wrong = {"Authorization": "Bearer wrong"}
    answer = await sandbox.call("POST", "/v1/charges", body=order(f"{payment}:1"), headers=wrong)
    assert (answer.status, answer.body["error"]["code"], named(answer)) == (401, "unauthorized", names(payment))
    asked = await sandbox.call("GET", f"/v1/charges/{payment}:1", headers=wrong)
    assert (asked.status, named(asked)) == (401, {"reference": f"{payment}:1"})


async def test_a_refused_body_with_another_meaning_names_its_request(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await sandbox.charge(f"{payment}:1")
    answer = await sandbox.charge(f"{payment}:1", amount=2_000)
    assert (answer.status, answer.body["error"]["code"], named(answer)) == (
        409,
        "idempotency_mismatch",
        names(payment),
    )


@pytest.mark.parametrize("family", ["charges", "refunds"])
async def test_a_not_found_answer_names_its_request(sandbox: Sandbox, family: str) -> None:
    answer = await sandbox.call("GET", f"/v1/{family}/nobody:1")
    assert (answer.status, named(answer)) == (404, {"reference": "nobody:1"})


async def test_an_inquiry_in_an_outage_names_its_request(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await sandbox.charge(f"{payment}:1", fate=f"inquiry_unavailable:{HOUR_MS}")
    answer = await sandbox.ask(f"{payment}:1")
    assert (answer.status, named(answer)) == (503, {"reference": f"{payment}:1"})


@pytest.mark.parametrize("verb", ["cancel", "reverse"])
async def test_an_unknown_charge_that_is_cancelled_keeps_the_callers_fields(sandbox: Sandbox, verb: str) -> None:
    payment = new_payment_id()
    said = {"payment_id": payment, "currency": "JPY"}
    undone = await sandbox.call("POST", f"/v1/charges/{payment}:1/{verb}", body=said)
    assert (undone.body["status"], named(undone)) == ("cancelled", names(payment))
    assert named(await sandbox.ask(f"{payment}:1")) == names(payment)
    assert named(await sandbox.charge(f"{payment}:1")) == names(payment)


async def test_a_charge_after_a_cancellation_without_fields_is_answered_with_its_fields(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await sandbox.call("POST", f"/v1/charges/{payment}:1/cancel")
    late = await sandbox.charge(f"{payment}:1")
    assert (late.body["status"], named(late)) == ("declined", names(payment))


@pytest.mark.parametrize("said", [{"currency": "yen"}, {"currency": 7}, {"payment_id": ""}, {"payment_id": []}])
async def test_a_cancellation_with_invalid_names_is_refused(sandbox: Sandbox, said: dict[str, Any]) -> None:
    answer = await sandbox.call("POST", f"/v1/charges/{new_payment_id()}:1/cancel", body=said)
    assert (answer.status, answer.body["error"]["code"]) == (400, "invalid_request")


async def test_a_statement_page_repeats_its_account_period_and_cursor(sandbox: Sandbox) -> None:
    asked = {"account": "sto 1", "from": "2020-01-01T00:00:00+00:00", "to": "2100-01-01T00:00:00Z", "cursor": "0"}
    query = "account=sto%201&from=2020-01-01T00:00:00%2B00:00&to=2100-01-01T00:00:00Z&cursor=0"
    page = (await sandbox.call("GET", f"/v1/statements?{query}")).body
    assert {name: page[name] for name in asked} == asked
