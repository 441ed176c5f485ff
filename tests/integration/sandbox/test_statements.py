"""A statement contains every line of the ledger in its period."""

import csv
import io
from typing import Any

import pytest

from tests.integration.sandbox.harness import Answer, Sandbox, new_payment_id

EVER = "from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00%2B00:00"
FIELDS = "line_id,kind,reference,payment_id,provider_reference,amount,currency,fee,at,settled_on"


async def statement(sandbox: Sandbox, query: str) -> Answer:
    return await sandbox.call("GET", f"/v1/statements?{query}")


async def ledger(sandbox: Sandbox) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await sandbox.call("GET", "/control/ledger")).body["data"]
    return rows


async def some_business(sandbox: Sandbox) -> str:
    payment = new_payment_id()
    await sandbox.charge(f"{payment}:1")
    await sandbox.charge(f"{payment}:2", fate="decline:x")
    await sandbox.refund(f"{payment}:r1", of=f"{payment}:1", amount=400)
    await sandbox.charge(f"{payment}:3")
    await sandbox.call("POST", f"/v1/charges/{payment}:3/reverse")
    return payment


async def test_a_statement_is_the_ledger(empty_sandbox: Sandbox) -> None:
    payment = await some_business(empty_sandbox)
    answer = await statement(empty_sandbox, EVER)
    lines = answer.body["data"]
    assert answer.body["next"] is None
    assert [(line["kind"], line["reference"], line["amount"], line["fee"]) for line in lines] == [
        ("charge", f"{payment}:1", 1_000, 32),
        ("refund", f"{payment}:r1", 400, 0),
        ("charge", f"{payment}:3", 1_000, 32),
        ("reversal", f"{payment}:3", 1_000, -32),
    ]
    assert [line["at"] for line in lines] == [row["at"] for row in await ledger(empty_sandbox)]
    assert len({line["line_id"] for line in lines}) == 4
    assert all(list(line) == FIELDS.split(",") for line in lines)


async def test_a_period_is_half_open(empty_sandbox: Sandbox) -> None:
    await some_business(empty_sandbox)
    first, second, *_ = [row["at"] for row in await ledger(empty_sandbox)]
    from_second = (await statement(empty_sandbox, f"from={second}&to=2100-01-01T00:00:00Z")).body["data"]
    before_second = (await statement(empty_sandbox, f"from={first}&to={second}")).body["data"]
    assert [line["at"] for line in before_second] == [first]
    assert from_second[0]["at"] == second
    assert len(from_second) == 3


async def test_pages_join_without_gap_or_overlap(empty_sandbox: Sandbox) -> None:
    await some_business(empty_sandbox)
    whole = (await statement(empty_sandbox, EVER)).body["data"]
    for limit in (1, 2, 3, 4):
        lines: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await statement(empty_sandbox, f"{EVER}&limit={limit}&cursor={cursor}")).body
            assert 0 < len(page["data"]) <= limit
            lines += page["data"]
            cursor = page["next"]
        assert lines == whole


async def test_csv_and_json_statements_agree(empty_sandbox: Sandbox) -> None:
    await some_business(empty_sandbox)
    answer = await statement(empty_sandbox, f"{EVER}&format=csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.body.splitlines()[0] == FIELDS
    lines = (await statement(empty_sandbox, EVER)).body["data"]
    expected = [{name: str(value) for name, value in line.items()} for line in lines]
    assert list(csv.DictReader(io.StringIO(answer.body))) == expected


async def test_an_empty_period_is_an_empty_statement(empty_sandbox: Sandbox) -> None:
    query = "from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z"
    assert (await statement(empty_sandbox, query)).body == {
        **{"account": None, "from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z", "cursor": None},
        **{"data": [], "next": None},
    }
    assert (await statement(empty_sandbox, f"{query}&format=csv")).body == FIELDS + "\r\n"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "from=2020-01-01T00:00:00Z",
        "from=yesterday&to=2020-01-01T00:00:00Z",
        "from=2020-01-01T00:00:00&to=2020-01-02T00:00:00Z",
        "from=2020-01-02T00:00:00Z&to=2020-01-01T00:00:00Z",
        f"{EVER}&limit=0",
        f"{EVER}&limit=5001",
        f"{EVER}&cursor=x",
        f"{EVER}&format=xml",
    ],
)
async def test_an_invalid_statement_request_is_refused(sandbox: Sandbox, query: str) -> None:
    answer = await statement(sandbox, query)
    assert (answer.status, answer.body["error"]["code"]) == (400, "invalid_request")


async def test_each_account_has_a_separate_statement(empty_sandbox: Sandbox) -> None:
    for number, account in enumerate(("sto_a", "sto_b", None)):
        body = {"reference": f"acc{number}:1", "payment_id": f"acc{number}", "amount": 10, "currency": "JPY"}
        await empty_sandbox.call("POST", "/v1/charges", body=body | ({"account": account} if account else {}))
    await empty_sandbox.call("POST", "/v1/charges/acc0:1/reverse")
    for account, expected in (("sto_a", ["acc0:1", "acc0:1"]), ("sto_b", ["acc1:1"]), ("sto_c", [])):
        answer = await statement(empty_sandbox, f"{EVER}&account={account}")
        assert [line["reference"] for line in answer.body["data"]] == expected
    assert len((await statement(empty_sandbox, EVER)).body["data"]) == 4
