"""The control routes read the ledger, and set fault rates and latency."""

import asyncio
from typing import Any

import pytest

from tests.integration.sandbox.harness import Answer, Sandbox, new_payment_id


async def control(sandbox: Sandbox, method: str, path: str, *, body: Any = None) -> Answer:
    """Send a request to a control route."""
    return await sandbox.call(method, f"/control/{path}", body=body)


async def test_ledger_pages_join_without_gap_or_overlap(empty_sandbox: Sandbox) -> None:
    await asyncio.gather(*(empty_sandbox.charge(f"{new_payment_id()}:1") for _ in range(25)))
    whole = (await control(empty_sandbox, "GET", "ledger")).body
    assert len(whole["data"]) == 25
    assert whole["next"] is None
    for limit in (1, 10, 25, 26):
        rows: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = (await control(empty_sandbox, "GET", f"ledger?after={after}&limit={limit}")).body
            assert 0 < len(page["data"]) <= limit
            rows += page["data"]
            after = page["next"]
        assert rows == whole["data"]


async def test_a_ledger_row_has_every_field(empty_sandbox: Sandbox) -> None:
    payment = new_payment_id()
    charged = (await empty_sandbox.charge(f"{payment}:1")).body
    (row,) = (await control(empty_sandbox, "GET", f"ledger/{payment}")).body["data"]
    assert row.pop("at").endswith("Z")
    assert row.pop("seq") > 0
    assert row == {
        "kind": "charge",
        "reference": f"{payment}:1",
        "payment_id": payment,
        "provider_reference": charged["provider_reference"],
        "amount": 1_000,
        "currency": "JPY",
        "fee": 32,
    }


async def test_emptying_the_ledger_deletes_everything_but_its_numbering(empty_sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await empty_sandbox.charge(f"{payment}:1", fate="unavailable:1")
    await empty_sandbox.charge(f"{payment}:1", fate="unavailable:1")
    (before,) = (await control(empty_sandbox, "GET", "ledger")).body["data"]
    assert (await control(empty_sandbox, "DELETE", "ledger")).status == 204
    assert (await control(empty_sandbox, "GET", "ledger")).body == {"data": [], "next": None}
    assert (await empty_sandbox.ask(f"{payment}:1")).status == 404
    assert (
        await empty_sandbox.charge(f"{payment}:1", fate="unavailable:1")
    ).status == 503  # the counter of the fault is deleted, too
    await empty_sandbox.charge(f"{payment}:1", fate="unavailable:1")
    (after,) = (await control(empty_sandbox, "GET", "ledger")).body["data"]
    assert after["seq"] > before["seq"]


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "limit=5001", "limit=1.5"])
async def test_an_invalid_page_is_refused(sandbox: Sandbox, query: str) -> None:
    assert (await control(sandbox, "GET", f"ledger?{query}")).status == 400


async def test_fault_rates_apply_to_charges_without_a_fate(empty_sandbox: Sandbox) -> None:
    rates = {"decline:dialled": 1}
    put = await control(empty_sandbox, "PUT", "faults", body={"seed": 3, "rates": rates})
    assert (put.status, put.body) == (200, {"seed": 3, "rates": rates})
    assert (await control(empty_sandbox, "GET", "faults")).body == put.body
    assert (await empty_sandbox.charge(f"{new_payment_id()}:1")).body["decline_code"] == "dialled"
    assert (await empty_sandbox.charge(f"{new_payment_id()}:1", fate="approve")).body["status"] == "succeeded"
    assert (await control(empty_sandbox, "DELETE", "faults")).status == 204
    assert (await control(empty_sandbox, "GET", "faults")).body == {"seed": 0, "rates": {}}
    assert (await empty_sandbox.charge(f"{new_payment_id()}:1")).body["status"] == "succeeded"


async def test_fault_rates_apply_to_refunds_and_codes(empty_sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await empty_sandbox.charge(f"{payment}:1")
    await control(empty_sandbox, "PUT", "faults", body={"rates": {"error_500_after_charge": 1}})
    assert (await empty_sandbox.refund(f"{payment}:r1", of=f"{payment}:1", amount=400)).status == 500
    assert (await empty_sandbox.code(f"{new_payment_id()}:1")).status == 500
    assert await empty_sandbox.moved(payment) == [("charge", 1_000), ("refund", 400)]


async def test_the_same_seed_gives_the_same_faults_in_any_order(empty_sandbox: Sandbox) -> None:
    references = [f"{new_payment_id()}:1" for _ in range(60)]
    dial = {"seed": 11, "rates": {"decline:a": 0.3, "partial:1+slow:1": 0.3}}

    async def run(order: list[str]) -> dict[str, tuple[str, int]]:
        await control(empty_sandbox, "DELETE", "ledger")
        answers = await asyncio.gather(*(empty_sandbox.charge(reference) for reference in order))
        return {answer.body["reference"]: (answer.body["status"], answer.body["amount"]) for answer in answers}

    await control(empty_sandbox, "PUT", "faults", body=dial)
    first = await run(references)
    assert len(set(first.values())) == 3
    assert await run(references[::-1]) == first


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rates": []},
        {"rates": {"unheard_of": 0.1}},
        {"rates": {"slow:1": 0.7, "slow:2": 0.7}},
        {"rates": {"slow:1": True}},
        {"rates": {"slow:1": "0.1"}},
        {"seed": "x", "rates": {}},
        {"seed": -1, "rates": {}},
    ],
    ids=str,
)
async def test_invalid_fault_rates_are_refused(sandbox: Sandbox, body: dict[str, Any]) -> None:
    answer = await control(sandbox, "PUT", "faults", body=body)
    assert (answer.status, answer.body["error"]["code"]) == (400, "invalid_request")


async def test_latency_can_be_read_and_set(empty_sandbox: Sandbox) -> None:
    put = await control(empty_sandbox, "PUT", "latency", body={"min_ms": 1, "max_ms": 3})
    assert (put.status, put.body) == (200, {"min_ms": 1, "max_ms": 3})
    assert (await control(empty_sandbox, "GET", "latency")).body == put.body
    await asyncio.gather(*(empty_sandbox.charge(f"{new_payment_id()}:1") for _ in range(5)))


@pytest.mark.parametrize(
    "body", [{}, {"min_ms": 5, "max_ms": 4}, {"min_ms": -1, "max_ms": 4}, {"min_ms": 1.5, "max_ms": 2}]
)
async def test_an_impossible_latency_is_refused(sandbox: Sandbox, body: dict[str, Any]) -> None:
    assert (await control(sandbox, "PUT", "latency", body=body)).status == 400
