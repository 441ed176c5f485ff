"""Hands: what this process is working on. Payments and refunds are carried alike: claim, call, record.

| phase  | transaction | connection | what                                                                  |
|--------|-------------|------------|-----------------------------------------------------------------------|
| claim  | one a batch | one        | status, lease, fence, attempt written ahead                            |
| call   | none        | none       | the provider is asked for all of them at once                          |
| record | one a group | one        | the answers that are ready, in the groups that form                    |

One bad row never fails its batch, and a slow one never holds back a finished one: a batch's caller waits only
``PATIENCE_SECONDS`` for it, then the calls go on by themselves. That is safe because the rows, not the message, say what
is still to be done: should this process die, the lease runs out and the attempt is asked about.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic

from workflows.errors import ServiceUnavailable
from workflows.gather import Gather
from workflows.payments.decide import Schedule, Step, Verdict, verdict
from workflows.payments.leases import ClaimT
from workflows.providers.base import Answer, Provider, Unavailable, Unknown
from workflows.providers.registry import Providers
from workflows.settings import Settings

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 1.0
"""How long a batch holds its worker thread: longer than a usual provider call, far shorter than a hanging one."""

RECORD_LANES = 2
"""Groups being recorded at once: one prepares in Python while the other commits."""

RECORD_RETRY_SECONDS = 0.25
"""Between two tries to record while the database is away."""

GROUP_LIMIT = 100
"""Rows per recording statement: a NOTIFY's payload holds 8,000 bytes, a hundred ids with their versions fit."""


@dataclass(frozen=True, slots=True)
class Answered(Generic[ClaimT]):
    """A claimed row, what the provider said, and what that means."""

    claimed: ClaimT
    answer: Answer | None
    verdict: Verdict


@dataclass(frozen=True)
class Work(Generic[ClaimT]):
    """What is different between one kind of work and another.

    ``ask`` puts the claim's question to a remote provider; ``settle`` answers for a local one (``None``: it is not
    local); ``record`` returns each row's status now, or ``None`` where the fence had moved on.
    """

    name: str
    claim: Callable[[list[str]], Awaitable[list[ClaimT]]]
    ask: Callable[[Provider, ClaimT], Awaitable[Answer]]
    settle: Callable[[ClaimT], Answer | None]
    record: Callable[[list[Answered[ClaimT]]], Awaitable[list[str | None]]]


class Hands(Generic[ClaimT]):
    """The rows of one kind that this process has in hand. Lives on one event loop."""

    def __init__(self, work: Work[ClaimT], *, settings: Settings, providers: Providers) -> None:
        self._work = work
        self._settings = settings
        self._providers = providers
        self._in_flight = {name: asyncio.Semaphore(settings.calls_in_flight) for name in providers.remote}
        self._room = asyncio.Semaphore(settings.payments_in_hand)
        self._records: Gather[Answered[ClaimT], str | None] = Gather(
            self._record, limit=GROUP_LIMIT, lanes=RECORD_LANES
        )
        self._carried: set[asyncio.Task[None]] = set()

    async def process(self, ids: list[str]) -> None:
        """Advance these rows by one step each. Safe to call twice, late, at once, or never.

        Raises ``ServiceUnavailable`` where the database is away while claiming.
        """
        for _ in ids:
            await self._room.acquire()
        claimed: list[ClaimT] = []
        try:
            claimed = await self._work.claim(ids)
        finally:
            for _ in range(len(ids) - len(claimed)):
                self._room.release()
        tasks = [self._start(self._carry(one)) for one in claimed]
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)

    async def drain(self, timeout_seconds: float) -> int:
        """Let the calls in hand end, for ``timeout_seconds`` at most; returns how many did not."""
        if not self._carried:
            return 0
        _, left = await asyncio.wait(set(self._carried), timeout=timeout_seconds)
        return len(left)

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)
        return task

    async def _carry(self, claimed: ClaimT) -> None:
        """Take one claimed row through its call and its record."""
        try:
            answer = await self._call(claimed)
            decided = verdict(claimed.step, answer, facts=claimed.facts, schedule=self._schedule(claimed.provider))
            status = await self._records.put(Answered(claimed, answer, decided))
            self._tell(claimed, status)
        except Exception:
            # Whatever went wrong is this row's alone: its lease runs out and it is asked about. Counted by the row.
            logger.exception("%s %s was left to the sweep", self._work.name, claimed.id, extra=_marks(claimed))
        finally:
            self._room.release()

    async def _call(self, claimed: ClaimT) -> Answer | None:
        if claimed.step is Step.CANCEL:
            return None
        settled = self._work.settle(claimed)
        if settled is not None:
            return settled
        provider = self._providers.remote.get(claimed.provider)
        if provider is None:
            return Unavailable(f"this installation has no provider {claimed.provider}")
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with self._in_flight[provider.name]:
            # Half the lease is for the call: whoever waited longer for a place lets somebody else claim it anew.
            if loop.time() - started > self._settings.lease_seconds / 2:
                return Unavailable("no place for another call") if claimed.step is Step.CHARGE else Unknown("not asked")
            return await self._work.ask(provider, claimed)

    def _schedule(self, name: str) -> Schedule:
        provider = self._providers.remote.get(name)
        return Schedule(
            max_processing_seconds=provider.max_processing_seconds if provider else 0.0,
            review_after_seconds=self._settings.review_after_seconds,
            scale=self._settings.doubt_schedule_scale,
            deduplicates=provider.deduplicates if provider else True,
        )

    async def _record(self, group: list[Answered[ClaimT]]) -> list[str | BaseException | None]:
        """Record, and insist while the leases hold: an answer in hand is worth more than a question later."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._settings.lease_seconds / 2
        while True:
            try:
                return [*await self._work.record(group)]
            except ServiceUnavailable:
                if loop.time() > give_up_at:
                    raise
                await asyncio.sleep(RECORD_RETRY_SECONDS)

    def _tell(self, claimed: ClaimT, status: str | None) -> None:
        name = self._work.name
        if status is None:
            logger.warning("%s %s had been taken over; its answer is evidence", name, claimed.id, extra=_marks(claimed))
        elif logger.isEnabledFor(logging.INFO):
            logger.info("%s %s: %s → %s", name, claimed.id, claimed.step, status, extra=_marks(claimed))


def _marks(claimed: ClaimT) -> dict[str, Any]:
    return {"payment_id": claimed.id, "request_id": claimed.request_id, "attempt": claimed.attempt_number}
