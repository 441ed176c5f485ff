"""`mpac archive` lists, refuses, archives, drops and restores, and its exit codes say which."""

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from mpac.stack.clock.install import install
from mpac.stack.local_stack import LocalStack
from tests.harness import variables
from tests.integration.archive.archive_helpers import live_payments, problems
from tests.integration.archive.conftest import POLICY, OldShop, old
from tests.integration.mpac.test_invariants import mpac
from workflows.archive.archive import archiving
from workflows.archive.months import read_months

__all__ = ["old"]


@pytest.fixture(autouse=True)
def _variables(stack: LocalStack) -> Iterator[None]:
    """Set the variables that point the command at this test process's servers."""
    with variables(stack.environment):
        yield


def run(shop: OldShop, *words: str) -> tuple[int, str]:
    """Run `mpac archive`, and return its exit code and what it printed."""
    done = mpac("archive", *words, database_url=shop.url)
    return done.returncode, done.stdout + done.stderr


@asynccontextmanager
async def later(shop: OldShop) -> AsyncIterator[None]:
    """Let the database's clock be ten years ahead. That closes all older connections."""
    await install(shop.url)
    async with await psycopg.AsyncConnection.connect(shop.url, autocommit=True, row_factory=dict_row) as admin:
        shop.admin = admin
        await admin.execute("UPDATE movable_clock.moved SET ahead = '10 years'")
        yield
        await admin.execute("UPDATE movable_clock.moved SET ahead = '0'")


async def test_a_month_is_listed_archived_dropped_and_another_restored(old: OldShop, tmp_path: Path) -> None:
    month, to = old.month.replace("_", "-"), ("--to", str(tmp_path))
    code, said = run(old)
    assert code == 0
    assert f"{month} " in said
    assert "it may be archived from 20" in said
    code, said = run(old, month, *to, "--yes")
    assert (code, f"{month} stays: it may be archived from" in said) == (3, True)

    async with later(old):
        assert re.search(r"MB  may be archived *$", run(old, "--list")[1], re.MULTILINE)
        code, said = run(old, month, *to)
        assert (code, "Nothing was done: repeat the command with --yes." in said) == (3, True)
        assert os.listdir(tmp_path) == []
        code, said = run(old, month, *to, "--yes")
        assert (code, f"{month}: archived, 5 payments" in said) == (0, True), said
        assert sorted(os.listdir(tmp_path / month)) == [
            "ledger_entries.csv.gz",
            "ledger_journals.csv.gz",
            "manifest.json",
            "payment_attempts.csv.gz",
            "payment_history.csv.gz",
            "payments.csv.gz",
        ]
        assert "archived 20" in run(old)[1]
        assert run(old, month, "--restore")[0] == 3
        code, said = run(old, month, "--restore", "--yes")
        assert (code, f"{month}: restored" in said) == (0, True)
        assert await live_payments(old) == 5

        following = "2100-01"
        assert run(old, "--before", following, *to, "--yes")[0] == 3  # there is no such month
        code, said = run(old, month, *to, "--yes", "--drop")
        assert (code, "tables dropped" in said) == (0, True), said
        code, said = run(old, month, "--restore", "--yes")
        assert (code, "load its files first" in said) == (3, True)
        (tmp_path / month / "payments.csv.gz").write_bytes(b"")
        assert run(old, month, *to, "--yes", "--drop")[0] == 0  # nothing is left to drop
        await old.admin.execute("UPDATE movable_clock.moved SET ahead = '0'")
        assert await problems(old) == []


async def test_months_before_a_month_are_archived_oldest_first(old: OldShop, tmp_path: Path) -> None:
    async with later(old):
        with archiving(old.url, policy=POLICY, by="a test", report=print) as held:
            months = [month.label for month in read_months(held.connection)]
            code, said = run(old, months[0], "--to", str(tmp_path), "--yes")
            assert (code, "Another `mpac archive` works on this database" in said) == (4, True)
        code, said = run(old, "--before", months[2], "--to", str(tmp_path), "--yes")
        assert (code, f"{months[1]} stays: settlement stl_" in said) == (3, True), said
        assert os.listdir(tmp_path) == months[:1]
        assert await live_payments(old) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["2026-13-1", "--to", "x"],
        ["november"],
        ["2026-11"],
        ["2026-11", "--list"],
        ["2026-11", "--before", "2026-12", "--to", "x"],
        ["--restore"],
        ["--drop"],
        ["2026-11", "--restore", "--drop"],
        ["--surprise"],
    ],
)
def test_a_wrong_call_exits_with_2(stack: LocalStack, words: list[str]) -> None:
    assert mpac("archive", *words, database_url=stack.urls.database).returncode == 2


def test_a_database_that_is_down_exits_with_4(stack: LocalStack) -> None:
    done = mpac("archive", database_url="postgresql://nobody@127.0.0.1:9/nothing")
    assert (done.returncode, "Traceback" in done.stderr) == (4, False)
