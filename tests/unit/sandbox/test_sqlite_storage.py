"""The sandbox's storage commits in groups: all writes of a group are durable, or none."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import ledger
from sandbox.sqlite_storage import FILE_NAME, SqliteStorage, StorageFailed


@pytest.fixture
def ledger_store(tmp_path: Path) -> Iterator[SqliteStorage]:
    store = SqliteStorage(tmp_path)
    yield store
    store.close()


def charge(store: SqliteStorage, reference: str, *, amount: int = 100) -> None:
    ledger.record(store, ("charge", reference, "pay_1", "sbx_1", amount, "JPY", 3, 1, "sto_1"))


def references(store: SqliteStorage) -> list[str]:
    return [row.reference for row in ledger.of_payment(store, "pay_1")]


async def test_concurrent_writers_share_one_commit(
    ledger_store: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = 0
    commit = SqliteStorage._end

    def counted(store: SqliteStorage, statement: str, *, error: sqlite3.Error | None) -> None:
        nonlocal commits
        commits += 1
        commit(store, statement, error=error)

    monkeypatch.setattr(SqliteStorage, "_end", counted)

    async def write(number: int) -> None:
        charge(ledger_store, f"r{number}")
        await ledger_store.durable()

    await asyncio.gather(*(write(number) for number in range(50)))
    assert len(references(ledger_store)) == 50
    assert commits == 1


async def test_durable_writes_are_in_the_file(tmp_path: Path) -> None:
    store = SqliteStorage(tmp_path)
    charge(store, "kept")
    await store.durable()
    charge(store, "not waited for")
    store._connection.close()  # as with kill -9, there is no final commit
    again = SqliteStorage(tmp_path)
    assert references(again) == ["kept"]
    again.close()


async def test_a_failed_statement_rolls_back_its_group_and_fails_every_waiter(ledger_store: SqliteStorage) -> None:
    async def write(reference: str, *, amount: int) -> None:
        charge(ledger_store, reference, amount=amount)
        await ledger_store.durable()

    # The table's CHECK refuses an amount of 0.
    results = await asyncio.gather(write("good", amount=1), write("bad", amount=0), return_exceptions=True)
    assert [type(result) for result in results] == [StorageFailed, StorageFailed]
    assert references(ledger_store) == []


async def test_the_store_accepts_writes_after_a_failure(ledger_store: SqliteStorage) -> None:
    with pytest.raises(StorageFailed):
        charge(ledger_store, "bad", amount=0)
    charge(ledger_store, "good")
    await ledger_store.durable()
    assert references(ledger_store) == ["good"]


async def test_a_second_process_cannot_open_the_same_ledger(
    ledger_store: SqliteStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.sqlite_storage.LOCK_WAIT_SECONDS", 0.0)
    charge(ledger_store, "mine")
    await ledger_store.durable()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        SqliteStorage(tmp_path)
    assert (tmp_path / FILE_NAME).exists()


async def test_ledger_numbers_continue_after_the_ledger_was_emptied(ledger_store: SqliteStorage) -> None:
    charge(ledger_store, "before")
    ledger_store.empty()
    charge(ledger_store, "after")
    await ledger_store.durable()
    assert [row.seq for row in ledger.of_payment(ledger_store, "pay_1")] == [2]
