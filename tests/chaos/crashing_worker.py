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
    "claimed, not committed",
    "claimed, the attempt written",
    "the request written",
    "the answer received",
    "recorded, not committed",
    "committed",
    "before the acknowledgement",
)
IN_DOUBT = POINTS[2:6]
"""Points that leave an unanswered attempt: the next worker has to inquire at the provider before anything else."""

ORDER_VARIABLE = "MPAC_TEST_CRASH_AT"
PAYMENT, REFUND = "payment", "refund"
IN_FLIGHT_SECONDS = 0.05  # the request has left by then; the provider takes longer to answer
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
    provider.charge = calling(PAYMENT, provider.charge)
    provider.refund = calling(REFUND, provider.refund)
    for entity, post in (
        (PAYMENT, "post_completions"),
        (REFUND, "post_refunds"),
    ):
        record: Any = import_module(f"workflows.{entity}s.record")
        tasks: Any = import_module(f"workers.{entity}s")
        setattr(record, post, posting(entity, getattr(record, post)))
        tasks.run = acknowledging(entity, tasks.run)


def plant_claims() -> None:
    """Patch the points around and within the transaction that claims rows."""
    leases: Any = import_module("workflows.processing.leases")
    claim = leases.LeaseTable.claim

    async def claims(self: Any, ids: list[str], **rest: Any) -> Any:
        reach(self.entity, "before the claim", ids)
        claimed = await claim(self, ids, **rest)
        if claimed:
            reach(self.entity, "claimed, the attempt written", [row.id for row in claimed])
        return claimed

    leases.LeaseTable.claim = claims
    workloads: Any = import_module("workflows.refunds.workload")
    for workload in (workloads.PAYMENTS, workloads.REFUNDS):
        workload.facts = deciding(workload.entity, workload.facts)


def deciding(entity: str, facts: Any) -> Any:
    """Add the point "claimed, not committed" to ``facts``.

    ``facts`` runs for each row before the claim's COMMIT.
    """

    def decides(row: dict[str, Any], *rest: Any) -> Any:
        reach(entity, "claimed, not committed", [row["id"]])
        return facts(row, *rest)

    return decides


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


def posting(entity: str, post: Any) -> Any:
    """Add the point before the COMMIT to ``post``, the last step of the transaction that records."""

    async def posts(connection: Any, moved: Any) -> None:
        await post(connection, moved)
        reach(entity, "recorded, not committed", [row["id"] for row in moved])

    return posts


def recording(record: Any) -> Any:
    """Add the point after the COMMIT to ``record``."""

    async def records(self: Any, group: list[Any], *rest: Any) -> Any:
        statuses = await record(self, group, *rest)
        reach(self._workload.entity, "committed", [answered.claim.id for answered in group])
        return statuses

    return records


def acknowledging(entity: str, run: Any) -> Any:
    """Add the last point to ``run``: the task is done, but its message is not acknowledged yet."""

    def runs(work: Any) -> Any:
        ids = list(work.cr_frame.f_locals["ids"])  # the argument of the task; the coroutine has not started yet
        result = run(work)
        reach(entity, "before the acknowledgement", ids)
        return result

    return runs


if __name__ == "__main__":
    plant()
    import_module("workers.app").app.worker_main(
        [
            *("--quiet", "worker", "--pool", "threads", "--concurrency", "8", "--prefetch-multiplier", "1"),
            *("--without-gossip", "--without-mingle", "--queues", QUEUES, "--hostname", sys.argv[1]),
            *("--include", "mpac.stack.celery_ready_hook,beat.sweeps"),
        ]
    )
