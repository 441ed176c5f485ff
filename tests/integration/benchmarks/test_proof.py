"""The proof of a benchmark finds lost and doubled charges, and is not confused by a payment that completes meanwhile."""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks.proof import Sandbox, verify
from mpac.cli.errors import UserError
from mpac.stack.local_stack import LocalStack
from tests.harness import empty_database

RUN = "b1"
ROWS = "CREATE TABLE payments (id text PRIMARY KEY, status text, client_reference text)"


class Ledger:
    """A provider's ledger whose reader is delayed: something happens after the page was read, and before it arrives."""

    def __init__(self, charged: list[str]) -> None:
        self.charged = charged
        self.meanwhile: Callable[[], Coroutine[Any, Any, None]] | None = None

    async def get(self, _request: web.Request) -> web.Response:
        page = {"data": [{"kind": "charge", "payment_id": each} for each in self.charged], "next": None}
        if self.meanwhile:
            await self.meanwhile()
        return web.json_response(page)


@pytest.fixture
async def address(stack: LocalStack) -> AsyncIterator[str]:
    async with empty_database(stack.urls.database) as url:
        yield url


@pytest.fixture
async def rows(address: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        await connection.execute(ROWS)
        await connection.execute(
            "INSERT INTO payments VALUES ('one', 'completed', 'b1-1'), ('two', 'processing', 'b1-2')"
        )
        yield connection


async def proof(address: str, ledger: Ledger) -> dict[str, int]:
    app = web.Application()
    app.router.add_get("/control/ledger", ledger.get)
    async with TestServer(app) as server:
        sandbox = Sandbox(str(server.make_url("")), "key")
        return await verify("product", database_url=address, sandbox=sandbox, run=RUN)


async def test_a_payment_that_completes_between_the_two_reads_is_not_called_a_lost_charge(
    rows: psycopg.AsyncConnection[Any], address: str
) -> None:
    ledger = Ledger(["one"])

    async def complete_the_straggler() -> None:
        ledger.charged.append("two")
        await rows.execute("UPDATE payments SET status = 'completed' WHERE id = 'two'")

    ledger.meanwhile = complete_the_straggler
    found = await proof(address, ledger)
    assert (found["completed"], found["charges"], found["completed without a charge"]) == (1, 1, 0)


async def test_a_charge_of_a_payment_that_is_still_open_is_counted_and_no_error(
    rows: psycopg.AsyncConnection[Any], address: str
) -> None:
    found = await proof(address, Ledger(["one", "two"]))
    assert (found["completed"], found["charges"], found["charged and not completed"]) == (1, 2, 1)


@pytest.mark.parametrize("charged", [[], ["one", "one"]], ids=["no charge", "two charges"])
async def test_a_completed_payment_without_exactly_one_charge_ends_the_benchmark(
    rows: psycopg.AsyncConnection[Any], address: str, charged: list[str]
) -> None:
    with pytest.raises(UserError, match="its figures mean nothing"):
        await proof(address, Ledger(charged))


async def test_payments_of_other_runs_are_not_compared(rows: psycopg.AsyncConnection[Any], address: str) -> None:
    await rows.execute("INSERT INTO payments VALUES ('three', 'completed', 'b2-1')")
    found = await proof(address, Ledger(["one", "four"]))
    assert (found["completed"], found["charges"]) == (1, 1)
