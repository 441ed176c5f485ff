"""A worker of the product that kills itself with -9 at a named point of a payment or a refund, when it is told to, once.

``MPAC_TEST_LAST_WORDS`` names a file. A worker that comes to the point which the file names (``payment: committed``)
removes the file, writes down over which rows (``died_over``), and is dead: no handler runs, no transaction ends, nothing is
acknowledged. Without the file it is a worker like any other. The points lie around the product's own calls, so nothing in
the product knows of them.
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
"""Killed there, it leaves an attempt that nobody has answered: the provider is asked about it before anything else."""

PAYMENT, REFUND = "payment", "refund"
ON_ITS_WAY_SECONDS = 0.05  # the request has left by then, and the provider takes longer to answer
QUEUES = "payments,refunds,settlements,webhooks,sweeps"


def died_over(last_words: Path) -> Path:
    """Where a worker that dies writes the ids of the rows it had in hand just then."""
    return last_words.with_name("died-over")


def reach(entity: str, point: str, ids: Iterable[str]) -> None:
    """Die here, with these rows in hand, if this is the point."""
    last_words = Path(os.environ["MPAC_TEST_LAST_WORDS"])
    try:
        if last_words.read_text() == f"{entity}: {point}":
            last_words.unlink()  # of two workers that come here at once one is told so
            died_over(last_words).write_text(json.dumps(list(ids)))
            os.kill(os.getpid(), signal.SIGKILL)
    except FileNotFoundError:
        return


def plant() -> None:
    """Put the points where they belong. The product is imported here: tests read only the names of the points."""
    recorder: Any = import_module("workflows.processing.recording").Recorder
    provider = import_module("workflows.providers.sandbox").SandboxProvider
    plant_claims()
    recorder._record = recording(recorder._record)
    provider.charge = calling(PAYMENT, provider.charge)
    provider.give_back = calling(REFUND, provider.give_back)
    for entity, post in (
        (PAYMENT, "post_completions"),
        (REFUND, "post_refunds"),
    ):
        record: Any = import_module(f"workflows.{entity}s.record")
        tasks: Any = import_module(f"workers.{entity}s")
        setattr(record, post, posting(entity, getattr(record, post)))
        tasks.run = acknowledging(entity, tasks.run)


def plant_claims() -> None:
    """The points around a claim and within its transaction."""
    leases: Any = import_module("workflows.processing.leases")
    claim = leases.LeaseTable.claim

    async def claims(self: Any, ids: list[str], **rest: Any) -> Any:
        reach(self.entity, "before the claim", ids)
        claimed = await claim(self, ids, **rest)
        if claimed:
            reach(self.entity, "claimed, the attempt written", [row.id for row in claimed])
        return claimed

    leases.LeaseTable.claim = claims
    workloads: Any = import_module("workflows.refunds.process")
    for workload in (workloads.PAYMENTS, workloads.REFUNDS):
        workload.facts = deciding(workload.entity, workload.facts)


def deciding(entity: str, facts: Any) -> Any:
    """``facts``, which are asked for of each row while its claim is not committed yet."""

    def decides(row: dict[str, Any], *rest: Any) -> Any:
        reach(entity, "claimed, not committed", [row["id"]])
        return facts(row, *rest)

    return decides


def calling(entity: str, call: Any) -> Any:
    """``call``, with a point while the request is on its way and one when its answer is here."""

    async def calls(self: Any, order: Any, **rest: Any) -> Any:
        row_id = order.reference.partition(":")[0]
        answering = asyncio.ensure_future(call(self, order, **rest))
        await asyncio.sleep(ON_ITS_WAY_SECONDS)
        reach(entity, "the request written", [row_id])
        answer = await answering
        reach(entity, "the answer received", [row_id])
        return answer

    return calls


def posting(entity: str, post: Any) -> Any:
    """``post``, the last that is done in the transaction of a record, and the point before it commits."""

    async def posts(connection: Any, moved: Any) -> None:
        await post(connection, moved)
        reach(entity, "recorded, not committed", [row["id"] for row in moved])

    return posts


def recording(record: Any) -> Any:
    """``record``, and the point after its commit."""

    async def records(self: Any, group: list[Any], *rest: Any) -> Any:
        statuses = await record(self, group, *rest)
        reach(self._workload.entity, "committed", [answered.claim.id for answered in group])
        return statuses

    return records


def acknowledging(entity: str, run: Any) -> Any:
    """``run``, and the last point: the task is done and the broker has not been told."""

    def runs(work: Any) -> Any:
        ids = list(work.cr_frame.f_locals["ids"])  # of the message; the coroutine is not begun yet
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
            *("--include", "mpac.stack.worker_consumes,beat.sweeps"),
        ]
    )
