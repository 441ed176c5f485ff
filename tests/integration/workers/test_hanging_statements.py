"""Statement fetches that hang occupy at most a quarter of a worker's threads.

The other threads remain free for payments and sweeps.
"""

import importlib
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import SimpleNamespace
from typing import Any

import pytest

from mpac.stack.commands import WORKER_THREADS
from mpac.stack.local_stack import LocalStack
from tests.polling import GENEROUS_SECONDS
from workers import concurrency_limit
from workflows.processing.task_summary import TextSummary

IDS = [f"stl_{n}" for n in range(2 * WORKER_THREADS)]


class Statements:
    """A reconciliation that ends when the test allows it. ``nudged`` lists the ids that were sent to the broker again."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.nudged: list[str] = []
        self.may_end = threading.Event()
        self.published = threading.Event()
        self.raises = False

    def reconcile(self, one: str) -> TextSummary:
        self.begun.append(one)
        assert self.may_end.wait(GENEROUS_SECONDS)
        if self.raises:
            raise TimeoutError
        return TextSummary(f"compared {one}")

    def publish(self, task: str, ids: list[str]) -> None:
        assert task == "settlements.reconcile"
        self.nudged += ids
        self.published.set()


@pytest.fixture
def statements() -> Statements:
    return Statements()


@pytest.fixture
def tasks(stack: LocalStack, statements: Statements, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield the module of the settlement tasks, with reconciliations that end when the test allows it."""
    found = importlib.import_module("workers.settlements")
    found.app.finalize()  # as at a worker's start: before that, a task is a promise, which is not thread-safe
    assert found.reconcile.name == "settlements.reconcile"
    monkeypatch.setattr(found, "runtime", lambda: SimpleNamespace(worker="w", settings=None, providers=None))
    monkeypatch.setattr(found, "reconcile_due", lambda one, **_: one)
    monkeypatch.setattr(found, "run", statements.reconcile)
    monkeypatch.setattr(concurrency_limit, "publish", statements.publish)
    yield found
    while found._reconciliations._waiting:  # remains of the test with an unreachable broker
        found._reconciliations.acquire("")
        found._reconciliations.release()


@pytest.fixture
def threads(statements: Statements) -> Iterator[ThreadPoolExecutor]:
    """Yield a thread pool with as many threads as a worker has."""
    with ThreadPoolExecutor(WORKER_THREADS) as pool:
        yield pool
        statements.may_end.set()


def hold_all(tasks: Any, threads: ThreadPoolExecutor) -> list[Future[None]]:
    """Start a reconciliation for each of ``IDS``; return the ``RECONCILED_AT_ONCE`` futures that hang.

    All other reconciliations have returned by then.
    """
    sent = [threads.submit(tasks.reconcile, [one]) for one in IDS]
    done: set[Future[None]] = set()
    while len(done) < len(IDS) - tasks.RECONCILED_AT_ONCE:
        ended, left = wait(set(sent) - done, timeout=GENEROUS_SECONDS, return_when=FIRST_COMPLETED)
        assert ended, f"{len(left)} threads are held"
        for one in ended:
            one.result()
        done |= ended
    return [one for one in sent if one not in done]


def test_a_hanging_provider_holds_a_quarter_of_the_threads(
    tasks: Any, threads: ThreadPoolExecutor, statements: Statements
) -> None:
    held = hold_all(tasks, threads)
    assert len(held) == len(statements.begun) == tasks.RECONCILED_AT_ONCE <= WORKER_THREADS // 4
    assert statements.nudged == []
    statements.may_end.set()


@pytest.mark.parametrize("raises", [False, True], ids=["it answers", "it never does"])
def test_a_waiting_reconciliation_is_nudged_when_another_ends_or_fails(
    tasks: Any, threads: ThreadPoolExecutor, statements: Statements, *, raises: bool
) -> None:
    statements.raises = raises
    hold_all(tasks, threads)
    statements.may_end.set()
    for heard in range(len(IDS) - tasks.RECONCILED_AT_ONCE):
        # Each finished reconciliation nudges one waiting id, and so does each of those.
        while len(statements.nudged) <= heard:
            assert statements.published.wait(GENEROUS_SECONDS)
            statements.published.clear()
        wait([threads.submit(tasks.reconcile, [statements.nudged[heard]])], timeout=GENEROUS_SECONDS)
    assert sorted(statements.begun) == sorted(IDS)


def test_an_unreachable_broker_loses_a_nudge_but_no_slot(
    tasks: Any, threads: ThreadPoolExecutor, statements: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_task: str, _ids: list[str]) -> None:
        raise ConnectionError("the broker is away")

    monkeypatch.setattr(concurrency_limit, "publish", away)
    held = hold_all(tasks, threads)
    statements.may_end.set()
    for one in held:
        assert one.exception(timeout=GENEROUS_SECONDS) is None
    assert tasks._reconciliations._free_slots == tasks.RECONCILED_AT_ONCE
