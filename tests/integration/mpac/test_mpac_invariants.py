"""`mpac invariants` on real databases and over the provider's real HTTP: verdicts, exit codes, sentences."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mpac.judges.provider import judge_by_ledger
from mpac.stack.home import ROOT
from mpac.stack.local import LocalStack
from mpac.trouble import Trouble
from tests.factories import CASH, QR, PaymentMaker
from tests.harness import variables
from tests.waiting import HANGS_AFTER_SECONDS

MOVEMENTS = 12


def mpac(*words: str, database_url: str, sandbox_url: str = "") -> "subprocess.CompletedProcess[str]":
    variables = {
        **os.environ,
        "MPAC_DATABASE_URL": database_url,
        "MPAC_SANDBOX_URL": sandbox_url,
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [sys.executable, "-m", "mpac", *words],
        capture_output=True,
        text=True,
        env=variables,
        check=False,
        timeout=HANGS_AFTER_SECONDS,
    )


@pytest.fixture(autouse=True)
def _variables(stack: LocalStack) -> Iterator[None]:
    """The command is started in the environment of this process's servers."""
    with variables(stack.environment):
        yield


@pytest.fixture
async def ledger() -> AsyncIterator[str]:
    """A provider that shows a ledger of twelve charges, five to a page, whatever is asked for."""

    async def page(request: web.Request) -> web.Response:
        after = int(request.query["after"])
        until = min(after + 5, MOVEMENTS)
        return web.json_response(
            {"data": [movement(n) for n in range(after + 1, until + 1)], "next": until if until < MOVEMENTS else None}
        )

    app = web.Application()
    app.router.add_get("/control/ledger", page)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


def movement(number: int) -> dict[str, Any]:
    payment = f"pay_{number}"
    facts = {"kind": "charge", "reference": f"{payment}:1", "payment_id": payment, "amount": 100, "currency": "JPY"}
    return {"seq": number, "fee": 3, "at": "2026-01-28T00:00:00Z", **facts}


async def test_the_ledger_is_read_to_its_last_page(own_database: str, ledger: str) -> None:
    judgement = await judge_by_ledger(database_url=own_database, sandbox_url=ledger)
    assert judgement.movements == MOVEMENTS
    assert [(broken.rule, broken.payment_id) for broken in judgement.broken] == [
        ("unknown", f"pay_{number}") for number in sorted(range(1, MOVEMENTS + 1), key=str)
    ]


async def test_real_payments_break_no_rule(payments: PaymentMaker, engines: None) -> None:
    from workflows.invariants.check import check_invariants  # noqa: PLC0415 - the engines are connected now

    made = [await payments.pending(CASH), await payments.pending(QR)]
    await payments.process(*made)
    cancelled = await payments.pending(QR)
    await payments.cancel(cancelled)
    mine = {*made, cancelled}
    told = {violation.id for finding in await check_invariants() for violation in finding.violations}
    assert not mine & told


def test_an_empty_database_breaks_no_rule(own_database: str) -> None:
    done = mpac("invariants", database_url=own_database)
    assert done.returncode == 0, done.stderr
    assert "rules hold." in done.stdout
    assert "only our own books could be judged" in done.stdout


async def test_a_broken_rule_is_told_and_ends_with_1(own_database: str) -> None:
    async with await psycopg.AsyncConnection.connect(own_database) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            """INSERT INTO payment_history (payment_id, version, merchant_id, store_id, event, to_status, at, caller_type,
                   caller_id) VALUES ('pay_lost', 1, 'mer_1', 'sto_1', 'create', 'pending', now(), 'user', 'u')"""
        )
    told = mpac("invariants", database_url=own_database)
    assert told.returncode == 1
    assert "pay_lost: has a history and no row" in told.stdout
    assert "rules are broken." in told.stdout
    data = json.loads(mpac("invariants", "--json", database_url=own_database).stdout)
    assert data["clean"] is False
    broken = [rule for rule in data["rules"] if rule["count"]]
    assert {rule["invariant"] for rule in broken} == {"I5", "I14"}
    assert broken[0]["violations"] == [["pay_lost", "has a history and no row"]]


def test_a_ledger_that_is_away_is_a_sentence(own_database: str) -> None:
    done = mpac("invariants", database_url=own_database, sandbox_url="http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("mpac: The sandbox provider at http://127.0.0.1:9 does not show its ledger")


def test_a_database_without_a_schema_is_a_sentence(own_database: str) -> None:
    done = mpac("invariants", database_url=own_database.rsplit("/", 1)[0] + "/postgres")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "`python3 run.py migrate` sees to it" in done.stderr


async def test_a_database_that_is_away_is_a_sentence() -> None:
    with pytest.raises(Trouble, match="can't be judged"):
        await judge_by_ledger(database_url="postgresql://mpac@127.0.0.1:9/mpac", sandbox_url="http://127.0.0.1:9")
