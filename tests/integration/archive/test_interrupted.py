"""An archive that ends at any point leaves whole books, and the same command finishes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.archive.archive_helpers import archive, live_payments, problems, restore, rows
from tests.integration.archive.conftest import POLICY, OldShop
from workflows.archive import move
from workflows.archive.archive import AnotherIsArchiving, archiving
from workflows.errors import ServiceUnavailable


class Died(BaseException):
    """The process ended."""


@contextmanager
def dying_at(statement: int, patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """End at the nth statement: the connection closes, and nothing after it runs. Yield the statements."""
    said: list[str] = []
    execute = psycopg.Connection.execute

    def counted(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        said.append(query if isinstance(query, str) else str(query))
        if len(said) == statement:
            self.close()
            raise Died
        return execute(self, query, *args, **kwargs)

    with patch.context() as inner:
        inner.setattr(psycopg.Connection, "execute", counted)
        yield said


async def test_a_process_that_dies_at_any_statement_leaves_whole_books_and_is_finished_by_the_next(
    old: OldShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement, deaths = 5, 0
    while True:
        statement += 1
        with dying_at(statement, monkeypatch):
            try:
                archive(old, tmp_path, drop=True)
            except Died:
                deaths += 1
            else:
                break
        left, archived = await live_payments(old), await rows(old, "SELECT month FROM archived_months")
        assert left == (0 if archived else 5)
        if deaths % 10 == 0:
            assert await problems(old) == []
    assert deaths > 40
    assert await live_payments(old) == 0
    assert await rows(old, "SELECT 1 FROM pg_class WHERE relnamespace = 'archive'::regnamespace") == []
    assert await problems(old) == []
    events = [row["event"] for row in await rows(old, "SELECT event FROM archive_log ORDER BY number")]
    assert events == ["freeze", "archive", "drop"]


async def test_a_restore_that_dies_at_any_statement_is_finished_by_the_next(
    old: OldShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(old, tmp_path)
    statement, deaths = 5, 0
    while True:
        statement += 1
        with dying_at(statement, monkeypatch):
            try:
                restore(old)
            except Died:
                deaths += 1
            else:
                break
        assert await live_payments(old) == (0 if await rows(old, "SELECT month FROM archived_months") else 5)
    assert deaths > 20
    assert await live_payments(old) == 5
    assert await problems(old) == []


async def test_a_second_archive_says_that_another_one_is_running(old: OldShop) -> None:
    with (
        archiving(old.url, policy=POLICY, by="a test", report=print),
        pytest.raises(AnotherIsArchiving),
        archiving(old.url, policy=POLICY, by="another", report=print),
    ):
        pass


async def test_tables_that_are_in_use_all_the_time_are_left_alone_and_block_no_payment(
    old: OldShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move, "ATTEMPTS", 3)
    monkeypatch.setattr(move, "LOCK_TIMEOUT_MS", 50)
    async with old.admin.transaction():
        await old.admin.execute("SELECT 1 FROM payments LIMIT 1")  # an export that takes long
        with pytest.raises(move.MonthBusy):
            archive(old, tmp_path)
        await old.shop.sell(500)
    assert await live_payments(old) == 6
    assert await problems(old) == []
    archive(old, tmp_path)
    assert await live_payments(old) == 1


async def test_a_frozen_month_refuses_a_refund_for_a_while_and_other_payments_go_on(old: OldShop) -> None:
    with archiving(old.url, policy=POLICY, by="a test", report=print) as run, run.connection.transaction():
        move.freeze(run.connection, run.find(old.month))
    with pytest.raises(ServiceUnavailable):
        await old.shop.request_refund(old.sold, 100)
    await old.shop.sell(500)
    restore(old)
    await old.shop.make_refund(old.sold, 100)
    assert await problems(old) == []
