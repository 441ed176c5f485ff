"""Run a worker that kills itself with SIGKILL at a requested point of processing a payment or a refund, once.

``MPAC_TEST_CRASH_AT`` names a file. When a worker reaches the point that the file names (``payment: committed``), it
removes the file, writes the ids of the rows that it is processing (``rows_of_crash``), and kills itself: no handler runs,
no transaction ends, nothing is acknowledged. Without the file it is an ordinary worker. The points are patched around the
product's calls, so that the product contains no code for them.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

POINTS = (
    "before the claim",
    "the claim sent",
    "claimed, the attempt written",
    "the request written",
    "the answer received",
    "the record sent",
    "committed",
    "before the acknowledgement",
)
IN_DOUBT = POINTS[2:5]
"""Points that leave an unanswered attempt: the next worker has to inquire at the provider before anything else.

A statement that was sent is committed or not, depending on which is faster, PostgreSQL or the kill.
"""

ORDER_VARIABLE = "MPAC_TEST_CRASH_AT"
PAYMENT, REFUND = "payment", "refund"
IN_FLIGHT_SECONDS = 0.05  # the request has left by then; the provider takes longer to answer
SENT_SECONDS = 0.001  # a statement has left by then; its answer may have arrived
QUEUES = "payments,refunds,settlements,webhooks,sweeps"


def rows_of_crash(order: Path) -> Path:
    """Return the file to which a crashing worker writes the ids of the rows that it was processing."""
    return order.with_name("rows-of-crash")


def reach(entity: str, point: str, ids: Iterable[str]) -> None:
    """Crash while processing the rows ``ids``, if the file names this point."""
    order = Path(os.environ[ORDER_VARIABLE])
    try:
        if order.read_text() == f"{entity}: {point}":
            order.unlink()  # if two workers arrive at once, this fails in one of them
            rows_of_crash(order).write_text(json.dumps(list(ids)))
            os.kill(os.getpid(), signal.SIGKILL)
    except FileNotFoundError:
        return


def plant() -> None:
    """Patch all points into the product.

    The product is imported here, because tests need only the names of the points.
    """
    recorder: Any = import_module("workflows.processing.recorder").Recorder
    provider = import_module("workflows.providers.sandbox").SandboxProvider
    plant_claims()
    recorder._record = recording(recorder._record)
    recorder._record_alone = recording(recorder._record_alone)
    provider.charge = calling(PAYMENT, provider.charge)
    provider.refund = calling(REFUND, provider.refund)
    payments: Any = import_module("workflows.payments.record")
    payments.execute_in_month = sending("the record sent", payments.execute_in_month)
    refunds: Any = import_module("workflows.refunds.record")
    refunds.execute_in_month = sending("the record sent", refunds.execute_in_month)
    for entity in (PAYMENT, REFUND):
        tasks: Any = import_module(f"workers.{entity}s")
        tasks.process.run = acknowledging(entity, tasks.process.run)


def plant_claims() -> None:
    """Patch the points around and within the statement that claims rows."""
    leases: Any = import_module("workflows.processing.leases")
    claim = leases.LeaseTable.claim

    async def claims(self: Any, ids: list[str], **rest: Any) -> Any:
        reach(self.entity, "before the claim", ids)
        claimed = await claim(self, ids, **rest)
        if claimed:
            reach(self.entity, "claimed, the attempt written", [row.id for row in claimed])
        return claimed

    leases.LeaseTable.claim = claims
    leases.execute_in_month = sending("the claim sent", leases.execute_in_month)


def sending(point: str, execute: Any) -> Any:
    """Add a point to ``execute`` at which the statement was sent and its answer is not read."""

    async def sends(role: Any, statement: Any, month_of: Any, parameters: dict[str, Any]) -> Any:
        answering = asyncio.ensure_future(execute(role, statement, month_of, parameters))
        await asyncio.wait([answering], timeout=SENT_SECONDS)
        entity = REFUND if "UPDATE refunds" in statement.text else PAYMENT
        ids = parameters["ids"] if "ids" in parameters else [row["id"] for row in json.loads(parameters["rows"])]
        reach(entity, point, ids)
        return await answering

    return sends


def calling(entity: str, call: Any) -> Any:
    """Add two kill points to ``call``: while the request is in flight, and after its answer has arrived."""

    async def calls(self: Any, order: Any, **rest: Any) -> Any:
        row_id = order.reference.partition(":")[0]
        answering = asyncio.ensure_future(call(self, order, **rest))
        await asyncio.sleep(IN_FLIGHT_SECONDS)
        reach(entity, "the request written", [row_id])
        answer = await answering
        reach(entity, "the answer received", [row_id])
        return answer

    return calls


def recording(record: Any) -> Any:
    """Add the point after the COMMIT to ``record``."""

    async def records(self: Any, group: list[Any], *rest: Any) -> Any:
        statuses = await record(self, group, *rest)
        reach(self._workload.entity, "committed", [answered.claim.id for answered in group])
        return statuses

    return records


def acknowledging(entity: str, process: Any) -> Any:
    """Add the last point to ``process``: the task is done, but its message is not acknowledged yet."""

    async def processes(ids: list[str]) -> Any:
        result = await process(ids)
        reach(entity, "before the acknowledgement", ids)
        return result

    return processes


if __name__ == "__main__":
    plant()
    import_module("workers.app").app.worker_main(
        [
            *("--quiet", "worker", "--concurrency", "8", "--prefetch-multiplier", "1"),
            *("--without-gossip", "--without-mingle", "--queues", QUEUES, "--hostname", sys.argv[1]),
            *("--include", "mpac.stack.celery_ready_hook,beat.sweeps"),
        ]
    )
