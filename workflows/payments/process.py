"""Process: claim, call, record.

| phase  | transaction | connection | what                                                                  |
|--------|-------------|------------|-----------------------------------------------------------------------|
| claim  | one a batch | one        | ``claim``: status, lease, fence, attempt written ahead                 |
| call   | none        | none       | the provider is asked for all of them at once                          |
| record | one a group | one        | ``record``: the answers that are ready, in the groups that form        |

One bad payment never fails its batch, and a slow one never holds back a finished one: a batch's caller waits only
``PATIENCE_SECONDS`` for it, then the calls go on by themselves. That is safe because the rows, not the message, say what
is still to be done: should this process die, the lease runs out and the attempt is asked about.
"""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from workflows.errors import ServiceUnavailable
from workflows.gather import Gather
from workflows.payments.claim import Claimed, claim_payments
from workflows.payments.decide import Schedule, Step, verdict
from workflows.payments.record import GROUP_LIMIT, Answered, record_answers
from workflows.providers.base import Answer, Provider, Unavailable, Unknown
from workflows.providers.registry import LOCAL, Providers
from workflows.settings import Settings

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 1.0
"""How long a batch holds its worker thread: longer than a usual provider call, far shorter than a hanging one."""

RECORD_LANES = 2
"""Groups being recorded at once: one prepares in Python while the other commits."""

RECORD_RETRY_SECONDS = 0.25
"""Between two tries to record while the database is away."""


class Processor:
    """The payments that this process has in hand. One per process; lives on one event loop."""

    def __init__(self, settings: Settings, providers: Providers, *, worker: str) -> None:
        self._settings = settings
        self._providers = providers
        self._worker = worker
        self._in_flight = {name: asyncio.Semaphore(settings.calls_in_flight) for name in providers.remote}
        self._room = asyncio.Semaphore(settings.payments_in_hand)
        self._records: Gather[Answered, str | None] = Gather(self._record, limit=GROUP_LIMIT, lanes=RECORD_LANES)
        self._hands: set[asyncio.Task[None]] = set()

    async def process(self, payment_ids: list[str]) -> None:
        """Advance these payments by one step each. Safe to call twice, late, at once, or never.

        Raises ``ServiceUnavailable`` where the database is away while claiming.
        """
        for _ in payment_ids:
            await self._room.acquire()
        claimed: list[Claimed] = []
        try:
            claimed = await claim_payments(payment_ids, worker=self._worker, lease_seconds=self._settings.lease_seconds)
        finally:
            for _ in range(len(payment_ids) - len(claimed)):
                self._room.release()
        tasks = [self._start(self._carry(payment)) for payment in claimed]
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)

    async def drain(self, timeout_seconds: float) -> int:
        """Let the calls in hand end, for ``timeout_seconds`` at most; returns how many did not."""
        if not self._hands:
            return 0
        _, left = await asyncio.wait(set(self._hands), timeout=timeout_seconds)
        return len(left)

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._hands.add(task)
        task.add_done_callback(self._hands.discard)
        return task

    async def _carry(self, claimed: Claimed) -> None:
        """Take one claimed payment through its call and its record."""
        try:
            answer = await self._call(claimed)
            decided = verdict(claimed.step, answer, facts=claimed.facts, schedule=self._schedule(claimed.provider))
            status = await self._records.put(Answered(claimed, answer, decided))
            _tell(claimed, status)
        except Exception:
            # Whatever went wrong is this payment's alone: its lease runs out and it is asked about. Counted by the row.
            logger.exception("payment %s was left to the sweep", claimed.id, extra=_marks(claimed))
        finally:
            self._room.release()

    async def _call(self, claimed: Claimed) -> Answer | None:
        if claimed.step is Step.CANCEL:
            return None
        local = LOCAL.get(claimed.provider)
        if local is not None:
            return local(claimed.charge)
        provider = self._providers.remote.get(claimed.provider)
        if provider is None:
            return Unavailable(f"this installation has no provider {claimed.provider}")
        started = asyncio.get_running_loop().time()
        async with self._in_flight[provider.name]:
            # Half the lease is for the call: whoever waited longer for a place lets somebody else claim it anew.
            if asyncio.get_running_loop().time() - started > self._settings.lease_seconds / 2:
                return Unavailable("no place for another call") if claimed.step is Step.CHARGE else Unknown("not asked")
            return await _ask(provider, claimed)

    def _schedule(self, name: str) -> Schedule:
        provider = self._providers.remote.get(name)
        return Schedule(
            max_processing_seconds=provider.max_processing_seconds if provider else 0.0,
            review_after_seconds=self._settings.review_after_seconds,
            scale=self._settings.doubt_schedule_scale,
            deduplicates=provider.deduplicates if provider else True,
        )

    async def _record(self, group: list[Answered]) -> list[str | BaseException | None]:
        """Record, and insist while the leases hold: an answer in hand is worth more than a question later."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._settings.lease_seconds / 2
        while True:
            try:
                return [*await record_answers(group, worker=self._worker)]
            except ServiceUnavailable:
                if loop.time() > give_up_at:
                    raise
                await asyncio.sleep(RECORD_RETRY_SECONDS)


async def _ask(provider: Provider, claimed: Claimed) -> Answer:
    if claimed.step is Step.ASK:
        return await provider.inquire(claimed.charge.reference)
    if claimed.step is Step.WITHDRAW:
        return await provider.withdraw(claimed.charge.reference)
    return await provider.charge(claimed.charge)


def _tell(claimed: Claimed, status: str | None) -> None:
    if status is None:
        logger.warning(
            "payment %s had been taken over; its answer is kept as evidence", claimed.id, extra=_marks(claimed)
        )
    elif logger.isEnabledFor(logging.INFO):
        logger.info("payment %s: %s → %s", claimed.id, claimed.step, status, extra=_marks(claimed))


def _marks(claimed: Claimed) -> dict[str, Any]:
    return {"payment_id": claimed.id, "request_id": claimed.request_id, "attempt": claimed.attempt_number}


def longest_step(settings: Settings) -> timedelta:
    """The longest one step may take, which a lease must outlast (checked when a worker starts)."""
    return timedelta(seconds=settings.sandbox_timeout_seconds + settings.statement_timeout_ms / 1000)
