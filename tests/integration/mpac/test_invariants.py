"""`mpac invariants` reports the right results, exit codes and sentences, on real databases and over the provider's HTTP."""

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from mpac.audit.payment_audit import audit_payments
from mpac.cli.errors import UserError
from mpac.stack.local_stack import LocalStack
from mpac.stack.state_folder import ROOT
from tests.factories import CASH, QR, PaymentMaker
from tests.harness import variables
from tests.integration.invariants.valid_rows import drop_constraints, insert_valid_rows, run
from tests.polling import HANGS_AFTER_SECONDS

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
    """Set the variables that point the command at this test process's servers."""
    with variables(stack.environment):
        yield


@pytest.fixture
async def ledger() -> AsyncIterator[str]:
    """Yield the URL of a provider whose ledger has twelve charges, in pages of five."""

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


async def test_the_providers_ledger_is_read_to_its_last_page(own_database: str, ledger: str) -> None:
    found = await audit_payments(database_url=own_database, sandbox_url=ledger)
    assert found.movements == MOVEMENTS
    assert [(broken.rule, broken.payment_id) for broken in found.broken] == [
        ("unknown", f"pay_{number}") for number in sorted(range(1, MOVEMENTS + 1), key=str)
    ]


async def test_real_payments_break_no_rule(payments: PaymentMaker, engines: None) -> None:
    from workflows.invariants.check import audit_database  # noqa: PLC0415 - the engines are connected now

    made = [await payments.pending(CASH), await payments.pending(QR)]
    await payments.process(*made)
    cancelled = await payments.pending(QR)
    await payments.cancel(cancelled)
    mine = {*made, cancelled}
    told = {violation.id for finding in (await audit_database()).findings for violation in finding.violations}
    assert not mine & told


def test_an_empty_database_breaks_no_rule_and_almost_all_have_nothing_to_check(own_database: str) -> None:
    done = mpac("invariants", database_url=own_database)
    assert done.returncode == 0, done.stderr
    assert re.search(r"No rule is broken: 1 hold, \d\d had nothing to check\.", done.stdout)  # it reads the catalogue
    assert "Looked at: payments 0, refunds 0" in done.stdout
    assert "only our own books were checked" in done.stdout


async def plant(database_url: str, *statements: str) -> None:
    """Commit ``statements`` without triggers; without any, commit valid rows."""
    engine = create_async_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    async with engine.begin() as connection:
        await run(connection, "SET LOCAL session_replication_role = replica")
        if not statements:
            await drop_constraints(connection)
            await insert_valid_rows(connection)
        await run(connection, *statements)
    await engine.dispose()


def history(entity: str, entity_id: str, event: str, source: str, target: str) -> str:
    return f"""INSERT INTO {entity}_history ({entity}_id, version, merchant_id, store_id, event, from_status, to_status, at,
        caller_type, caller_id) VALUES ('{entity_id}', 2, 'mer_1', 'sto_1', '{event}', '{source}', '{target}',
        now() + interval '2 s', 'worker', 'w')"""


IN_DOUBT = "status = 'processing', version = 2, outcome_known = false, in_doubt_since = now() - interval '90 s'"
UNSETTLED = (
    f"UPDATE payments SET {IN_DOUBT}, due_at = NULL, needs_review = true WHERE id = 'pay_2'",
    history("payment", "pay_2", "claim", "pending", "processing"),
    """UPDATE refunds SET needs_action = true, due_at = NULL, version = 2, created_at = now() - interval '3 h'
       WHERE id = 'rfd_1'""",
    history("refund", "rfd_1", "await_action", "pending", "pending"),
    "UPDATE payments SET needs_review = true WHERE id = 'pay_1'",
    """INSERT INTO dead_letters (id, task, arguments, deliveries, reason, created_at)
       VALUES ('ddl_1', 'payments.process', '[]', 3, 'boom', now() - interval '2 d')""",
)


async def test_unknown_outcomes_and_work_for_people_are_reported_and_exit_with_3(own_database: str) -> None:
    await plant(own_database)
    fresh = mpac("invariants", "--rules", database_url=own_database)
    assert fresh.returncode == 0, fresh.stdout + fresh.stderr
    assert "Open:              1 payment(s), ¥700, oldest" in fresh.stdout
    assert "In doubt:          none" in fresh.stdout
    assert "A closed settlement's totals are the sums of its lines." in fresh.stdout
    await plant(own_database, *UNSETTLED)
    told = mpac("invariants", database_url=own_database)
    assert told.returncode == 3, told.stdout + told.stderr
    assert "In doubt:          1 payment(s), ¥700, oldest 1 min" in told.stdout
    assert "In review:         2 payment(s), ¥1,750, oldest" in told.stdout
    assert "To refund by hand: 1 refund(s), ¥300, oldest 3 h" in told.stdout
    assert "Dead letters:      1, oldest 2 days" in told.stdout
    assert "A closed settlement's totals are the sums of its lines." not in told.stdout  # shown only with --rules
    data = json.loads(mpac("invariants", "--json", database_url=own_database).stdout)
    assert (data["clean"], data["exit_code"], data["states"]["broken"]) == (True, 3, 0)
    assert data["looked_at"]["payments"] == 3
    (doubt,) = data["waiting"]["in_doubt"]
    assert (doubt["entity"], doubt["currency"], doubt["count"], doubt["amount"]) == ("payment", "JPY", 1, 700)
    assert doubt["oldest_seconds"] >= 90
    assert [part["count"] for part in data["waiting"]["open"]] == [1, 1]
    await plant(own_database, "UPDATE payments SET needs_review = false WHERE id = 'pay_2'")
    forgotten = mpac("invariants", database_url=own_database)
    assert forgotten.returncode == 1  # no worker will process the payment again, which breaks I9 …
    assert "In doubt:          1 payment(s), ¥700" in forgotten.stdout  # … and it is still counted as in doubt
    assert "I9 is broken, by our database" in forgotten.stdout


async def test_a_broken_rule_is_reported_and_exits_with_1(own_database: str) -> None:
    async with await psycopg.AsyncConnection.connect(own_database) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            """INSERT INTO payment_history (payment_id, version, merchant_id, store_id, event, to_status, at, caller_type,
                   caller_id) VALUES ('pay_lost', 1, 'mer_1', 'sto_1', 'create', 'pending', now(), 'user', 'u')"""
        )
    told = mpac("invariants", database_url=own_database)
    assert told.returncode == 1
    assert "pay_lost: has a history and no row" in told.stdout
    assert "rules are broken: " in told.stdout
    data = json.loads(mpac("invariants", "--json", database_url=own_database).stdout)
    assert (data["clean"], data["exit_code"]) == (False, 1)
    broken = [rule for rule in data["rules"] if rule["count"]]
    assert {rule["invariant"] for rule in broken} == {"I5", "I14"}
    assert {rule["state"] for rule in broken} == {"broken"}
    assert broken[0]["violations"] == [["pay_lost", "has a history and no row"]]


async def test_an_unreachable_ledger_exits_with_4_unless_our_books_break_a_rule(own_database: str) -> None:
    done = mpac("invariants", database_url=own_database, sandbox_url="http://127.0.0.1:9")
    assert done.returncode == 4
    assert done.stderr.startswith("mpac: The sandbox provider at http://127.0.0.1:9 does not show its ledger")
    assert "In doubt:          none" in done.stdout  # everything that can be read is reported
    await plant(own_database)
    await plant(own_database, "UPDATE payments SET due_at = NULL WHERE id = 'pay_2'")
    done = mpac("invariants", "--json", database_url=own_database, sandbox_url="http://127.0.0.1:9")
    data = json.loads(done.stdout)
    assert (done.returncode, data["exit_code"], len(data["unchecked"])) == (1, 1, 1)
    assert {rule["judge"] for rule in data["rules"]} == {"our database", "all books, added up"}


CHARGE = {"kind": "charge", "reference": "p:1", "payment_id": "p", "currency": "JPY", "amount": 5, "fee": 0}


@pytest.mark.parametrize(
    "shown",
    [
        "<html>",
        "[]",
        '{"data": [{}], "next": null}',
        json.dumps({"data": [{**CHARGE, "amount": "5"}], "next": None}),
        '{"data": 5}',
    ],
    ids=["page", "list", "empty line", "amount", "number"],
)
async def test_an_answer_that_is_not_a_ledger_is_an_error(own_database: str, shown: str) -> None:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=shown, content_type="application/json")

    app = web.Application()
    app.router.add_get("/control/ledger", page)
    async with TestServer(app) as server:
        with pytest.raises(UserError, match="did not return a ledger"):
            await audit_payments(database_url=own_database, sandbox_url=str(server.make_url("/")))


def test_a_database_without_a_schema_exits_with_4_and_advice(own_database: str) -> None:
    done = mpac("invariants", database_url=own_database.rsplit("/", 1)[0] + "/postgres")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert "run `python3 run.py migrate`" in done.stderr


def test_an_invalid_option_of_invariants_exits_with_2(own_database: str) -> None:
    assert mpac("invariants", "--rulez", database_url=own_database).returncode == 2


async def test_an_unreachable_database_is_reported_in_a_sentence() -> None:
    with pytest.raises(UserError, match="can't be audited"):
        await audit_payments(database_url="postgresql://mpac@127.0.0.1:9/mpac", sandbox_url="http://127.0.0.1:9")
