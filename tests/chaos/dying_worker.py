"""A worker of the product that kills itself with -9 at a named point of a refund, when it is told to, once.

``MPAC_TEST_LAST_WORDS`` names a file. A worker that comes to the point whose name is in the file removes the file and is
dead: no handler runs, no transaction ends, nothing is acknowledged. Without the file it is a worker like any other. The
points lie around the product's own calls, so nothing in the product knows of them.
"""

import asyncio
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

POINTS = (
    "before the claim",
    "claimed, the attempt written",
    "the request written",
    "the answer received",
    "recorded, not committed",
    "committed",
    "before the acknowledgement",
)
ON_ITS_WAY_SECONDS = 0.05  # the request has left by then, and the provider takes longer to answer
QUEUES = "payments,refunds,settlements,webhooks,sweeps"


def reach(point: str) -> None:
    """Die here, if this is the point."""
    last_words = Path(os.environ["MPAC_TEST_LAST_WORDS"])
    try:
        if last_words.read_text() == point:
            last_words.unlink()  # of two workers that come here at once one is told so
            os.kill(os.getpid(), signal.SIGKILL)
    except FileNotFoundError:
        return


def plant() -> None:
    """Put the points where they belong. The product is imported here: tests read only the names of the points."""
    application: Any = import_module("workers.app")
    tasks: Any = import_module("workers.refunds")
    process: Any = import_module("workflows.refunds.process")
    leases: Any = import_module("workflows.payments.leases")
    provider = import_module("workflows.providers.sandbox").SandboxProvider
    claim, give_back = leases.LeaseTable.claim, provider.give_back
    post, record, run = application.post_refunds, process.record_refunds, tasks.run

    async def claims(self: Any, ids: list[str], **rest: Any) -> Any:
        if self.entity == "refund":
            reach("before the claim")
        claimed = await claim(self, ids, **rest)
        if self.entity == "refund" and claimed:
            reach("claimed, the attempt written")
        return claimed

    async def gives_back(self: Any, refund: Any) -> Any:
        calling = asyncio.ensure_future(give_back(self, refund))
        await asyncio.sleep(ON_ITS_WAY_SECONDS)
        reach("the request written")
        answer = await calling
        reach("the answer received")
        return answer

    async def posts(*args: Any) -> Any:
        await post(*args)
        reach("recorded, not committed")

    async def records(*args: Any, **rest: Any) -> Any:
        statuses = await record(*args, **rest)
        reach("committed")
        return statuses

    def runs(work: Any) -> Any:
        result = run(work)
        reach("before the acknowledgement")
        return result

    leases.LeaseTable.claim, provider.give_back = claims, gives_back
    application.post_refunds, process.record_refunds, tasks.run = posts, records, runs


if __name__ == "__main__":
    plant()
    import_module("workers.app").app.worker_main(
        [
            *("--quiet", "worker", "--pool", "threads", "--concurrency", "8", "--prefetch-multiplier", "1"),
            *("--without-gossip", "--without-mingle", "--queues", QUEUES, "--hostname", sys.argv[1]),
            *("--include", "mpac.stack.announce,beat.sweeps"),
        ]
    )
