"""The task that adds counts to the totals goes on after an error, and may be stopped before it was started."""

import logging

import pytest

from tests.polling import GENEROUS_SECONDS, eventually
from workflows.database import metrics_buffer
from workflows.database.engines import Role
from workflows.database.metrics_buffer import CountDelta, ProcessCounts, count_swept_rows
from workflows.ops import metrics_store
from workflows.ops.metrics_store import TotalsWriter


async def test_the_rows_that_a_sweep_found_are_counted_by_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = ProcessCounts()
    monkeypatch.setattr(metrics_buffer, "PROCESS_COUNTS", counts)
    for _ in range(2):
        await count_swept_rows("payments.sweep", {"lease_expired": 2, "overdue": 1})
    assert sorted(counts.pop()) == [
        CountDelta("sweeps_found", ("payments.sweep", "lease_expired"), "", 4),
        CountDelta("sweeps_found", ("payments.sweep", "overdue"), "", 2),
    ]


async def test_a_writer_goes_on_after_an_unexpected_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> list[CountDelta]:
        raise RuntimeError("a bug")

    writer = TotalsWriter(Role.WORKER)
    with monkeypatch.context() as patched:
        counts = ProcessCounts()
        patched.setattr(metrics_store, "PROCESS_COUNTS", counts)
        patched.setattr(ProcessCounts, "pop", lambda _: broken())
        patched.setattr(metrics_store, "ADD_SECONDS", 0)
        writer.start()

        async def failures() -> int:
            return [getattr(record, "event", "") for record in caplog.records].count("metrics.not_added")

        await eventually(failures, until=lambda n: n >= 2, within=GENEROUS_SECONDS)
        patched.setattr(ProcessCounts, "pop", lambda _: [])
        await writer.stop()
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


async def test_a_writer_that_was_not_started_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_store, "PROCESS_COUNTS", ProcessCounts())
    await TotalsWriter(Role.WORKER).stop()
