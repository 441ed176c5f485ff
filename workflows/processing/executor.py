"""Run payments or refunds through claim, call and record (``LeaseExecutor._advance``).

| phase  | transaction   | connection | what                                                            |
|--------|---------------|------------|-----------------------------------------------------------------|
| claim  | one per batch | one        | status, lease, fence; the attempt is written ahead              |
| call   | none          | none       | as many calls at once as the provider has places                |
| record | one per group | one        | the answers that are ready, in the groups that form             |

A row is claimed only if there is a place for it (``capacity``), and its call begins right after; ids that find no place wait,
and are claimed when a place becomes free.

One bad row never fails its batch, and a slow one never delays a finished one: the caller of a batch waits at most
``BATCH_TIMEOUT_SECONDS`` for it, then the calls continue on their own. That is safe because the rows, not the message, hold
the remaining work: if this process dies, the lease runs out and the provider is asked about the attempt.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Generic

from workflows.ids import WELL_FORMED
from workflows.processing.call_metrics import count_call
from workflows.processing.capacity import Capacity, WaitingIds
from workflows.processing.decide import RetryPolicy, decide
from workflows.processing.decision import Decision
from workflows.processing.leases import Claim, ClaimInDoubt, RequestT, took_effect
from workflows.processing.next_step import SENDS, Step
from workflows.processing.recorder import GROUP_LIMIT, Recorder, Result
from workflows.processing.task_summary import LEFT_TO_SWEEP, Outcome, RowOutcome, collect_outcomes, row_outcome
from workflows.processing.workload import Answered, Workload
from workflows.providers.base import Answer, Succeeded, Unavailable
from workflows.providers.registry import Providers
from workflows.settings import Settings

logger = logging.getLogger(__name__)

BATCH_TIMEOUT_SECONDS = 1.0
"""How long a batch holds its worker thread: longer than a usual provider call, far shorter than a hanging one."""

WAITING_CALLERS = 4
"""Batches that may hold a worker thread while providers are called, a quarter of a worker's threads: waiting paces the
messages, and if all threads could wait, one provider that hangs would delay cash payments too."""

Running = tuple[str | None, "asyncio.Task[Any]"]
"""The provider that is called (``None``: none), and the task that ends with the row's record and returns how it ended."""

POISON_CANDIDATES = ""
"""The name of the queue of rows that are claimed one by one."""


class LeaseExecutor(Generic[RequestT]):
    """Processes the rows of one workload in this process. It belongs to one event loop."""

    def __init__(self, workload: Workload[RequestT], *, settings: Settings, providers: Providers, worker: str) -> None:
        self._workload = workload
        self._name = workload.entity
        self._worker = worker
        self._settings = settings
        self._providers = providers
        self._page = min(GROUP_LIMIT, settings.payments_in_hand)
        self._capacity = Capacity(providers.remote, calls=settings.calls_in_flight, rows=settings.payments_in_hand)
        self._waiting = {name: WaitingIds() for name in providers.remote}
        self._poison_candidates = WaitingIds()
        self._queues: dict[str, asyncio.Task[Any]] = {}
        self._callers = asyncio.Semaphore(WAITING_CALLERS)
        self._recorder = Recorder(workload, worker=worker, insist_seconds=settings.lease_seconds / 2)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_ending = False

    async def process(self, ids: Sequence[object]) -> Outcome:
        """Advance these rows by one step each, and return how they ended.

        Safe to call twice, late, concurrently, or never. Malformed ids are reported after the other rows were processed.
        Raises ``TypeError`` and ``ValueError`` for these, and ``ServiceUnavailable`` if the database is away while claiming.
        """
        if not isinstance(ids, list):
            raise TypeError(f"{self._name}s are processed by a list of their ids, not {type(ids).__name__}")
        wanted = [one for one in ids if isinstance(one, str) and WELL_FORMED.fullmatch(one)]
        pages = range(0, len(wanted), self._page)
        begun = [task for start in pages for task in await self._run_batch(wanted[start : start + self._page])]
        if len(wanted) < len(ids):
            raise ValueError(f"{len(ids) - len(wanted)} of these {len(ids)} are no ids")
        return collect_outcomes(begun, count=len(wanted))

    async def _run_batch(self, ids: list[str]) -> list["asyncio.Task[Any]"]:
        """Advance ``ids``, and wait briefly for those that end soon. Return the tasks that were started."""
        running, full = await self._advance(ids)
        begun = [task for _, task in running]
        if len(running) < len(ids) and (full or len(ids) > 1):
            running += await self._enqueue(ids, full)
        local = [task for provider, task in running if provider is None]
        if local:
            await asyncio.wait(local, timeout=BATCH_TIMEOUT_SECONDS)
        remote = [task for provider, task in running if provider is not None]
        if remote and not self._callers.locked():
            async with self._callers:
                await asyncio.wait(remote, timeout=BATCH_TIMEOUT_SECONDS)
        return begun

    async def _advance(self, ids: list[str]) -> tuple[list[Running], frozenset[str]]:
        """Take those of ``ids`` that find a place through claim, call and record.

        Return once they are claimed: the tasks that call and record, and the providers that have no place left.
        """
        full = await self._capacity.take(len(ids))
        claimed_at = asyncio.get_running_loop().time()  # before the claim: its lease is counted from within
        claims = await self._claim(ids, full, claimed_at)  # claim: one transaction, which is over here

        async def run_one(claim: Claim[RequestT]) -> RowOutcome:
            try:
                answer = await self._call(claim, claimed_at)  # call: no transaction and no connection is held
                decision = self._decide(claim, answer, claimed_at)
                status = await self._recorder.put(
                    Answered(claim, answer, decision)
                )  # record: one transaction per group
                self._log_outcome(claim, status)
                return row_outcome(status, decision)
            except Exception:
                # Whatever went wrong concerns this row only: its lease runs out and the sweep finds it. Counted by the row.
                extra = {**self._log_context(claim), "event": f"{self._name}.left_to_sweep"}
                logger.exception("%s %s was left to the sweep", self._name, claim.id, extra=extra)
                return LEFT_TO_SWEEP
            finally:
                self._release(claim)

        return [(self._called_provider(claim), self._start(run_one(claim))) for claim in claims], full

    async def _claim(self, ids: list[str], full: frozenset[str], claimed_at: float) -> list[Claim[RequestT]]:
        """Claim those of ``ids`` for which a place was taken, and return the places of the others."""
        claims: list[Claim[RequestT]] = []
        try:
            claims = await self._claim_or_confirm(ids, full, claimed_at)
        finally:
            self._capacity.return_unused(len(ids), full, map(self._called_provider, claims))
        return claims

    async def _claim_or_confirm(self, ids: list[str], full: frozenset[str], claimed_at: float) -> list[Claim[RequestT]]:
        """Claim ``ids``. If the answer to the COMMIT was lost, find out its outcome: no provider was called yet."""
        forgetful = [name for name, one in self._providers.remote.items() if not one.deduplicates]
        lease = self._settings.lease_seconds
        try:
            return await self._workload.claim(
                ids, worker=self._worker, lease_seconds=lease, forgetful=forgetful, full=full
            )
        except ClaimInDoubt as doubt:
            if await took_effect(doubt, within_seconds=claimed_at + lease - asyncio.get_running_loop().time()):
                return doubt.claims
            raise

    async def _call(self, claim: Claim[RequestT], claimed_at: float) -> Answer | None:
        """Return the provider's answer to the claim's step; ``None`` if no provider has to be called."""
        if claim.step is Step.CANCEL:
            return None
        answer = self._workload.answer_locally(claim)
        if answer is not None:
            return answer
        provider = self._providers.remote.get(claim.provider)
        if provider is None:
            return Unavailable(f"this installation has no provider {claim.provider}")
        # Half the lease is for the call. A process that was stopped for longer sends nothing: another may have found the
        # attempt unanswered and decided without it.
        elapsed = asyncio.get_running_loop().time() - claimed_at
        if elapsed > self._settings.lease_seconds / 2:
            return Unavailable("this process was stopped between its claim and its call")
        if claim.step in SENDS and elapsed >= claim.facts.seconds_left:
            return Unavailable("it expired before it could be sent")
        call = self._workload.call_provider(provider, claim, not_after=claimed_at + claim.facts.seconds_left)
        return await count_call(self._name, claim.provider, claim.step, call)

    def _decide(self, claim: Claim[RequestT], answer: Answer | None, claimed_at: float) -> Decision:
        facts = claim.facts
        if not isinstance(answer, Succeeded):
            facts = replace(facts, elapsed_seconds=asyncio.get_running_loop().time() - claimed_at)
        return decide(claim.step, answer, facts=facts, policy=self._retry_policy(claim.provider))

    def _retry_policy(self, name: str) -> RetryPolicy:
        provider = self._providers.remote.get(name)
        return RetryPolicy(
            max_processing_seconds=provider.max_processing_seconds if provider else 0.0,
            review_after_seconds=self._settings.review_after_seconds,
            scale=self._settings.doubt_schedule_scale,
        )

    def _called_provider(self, claim: Claim[RequestT]) -> str | None:
        """Return the name of the provider that will be called, or ``None``."""
        is_called = claim.step is not Step.CANCEL and claim.provider in self._providers.remote
        return claim.provider if is_called else None

    def _release(self, claim: Claim[RequestT]) -> None:
        """Return the place of a row that ended; the next waiting id of its provider may take it."""
        provider = self._called_provider(claim)
        self._capacity.give(provider)
        if provider and self._waiting[provider]:
            self._start_queue(provider)

    async def _enqueue(self, ids: list[str], full: frozenset[str]) -> list[Running]:
        """Put those of ``ids`` that are free into their queues; return the tasks that empty these queues."""
        names: set[str] = set()
        for left in await self._workload.left_over(ids, full=full, lease_seconds=self._settings.lease_seconds):
            name = POISON_CANDIDATES if left.is_poison_candidate and len(ids) > 1 else left.provider
            waiting = self._poison_candidates if name == POISON_CANDIDATES else self._waiting.get(name)
            if waiting is not None:
                waiting.add([left.id])
                names.add(name)
        return [(name, self._queues[name]) for name in names if self._start_queue(name)]

    def _start_queue(self, name: str) -> bool:
        """Start a task for the queue ``name`` if it has none and one is possible; return whether there is a task."""
        if self._is_ending:
            return False
        is_possible = name == POISON_CANDIDATES or (self._waiting[name] and self._capacity.free(name))
        if name not in self._queues and is_possible:
            work = self._run_poison_candidates() if name == POISON_CANDIDATES else self._run_waiting(name)
            self._queues[name] = self._start(self._run_queue(name, work))
        return name in self._queues

    async def _run_queue(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            extra = {"event": f"{self._name}.queue_left_to_sweep"}
            logger.warning("%ss that wait for %s are left to the sweep: %s", self._name, name, error, extra=extra)
        finally:
            del self._queues[name]

    async def _run_waiting(self, name: str) -> None:
        """Advance as many waiting ids of the provider ``name`` as it has places; each place that becomes free starts this."""
        waiting = self._waiting[name]
        while (count := min(len(waiting), self._capacity.free(name), self._page)) and not self._is_ending:
            ids = waiting.take(count)
            running, full = await self._advance(ids)
            # A single id that found a place belongs to another worker: a queue would try it endlessly.
            if len(running) < count and (full or count > 1):
                await self._enqueue(ids, full)

    async def _run_poison_candidates(self) -> None:
        """Advance candidates one by one, so that two rows that may crash this process are never processed together."""
        while self._poison_candidates and not self._is_ending:
            ids = self._poison_candidates.take(1)
            running, full = await self._advance(ids)
            if running:
                await asyncio.wait([task for _, task in running], timeout=BATCH_TIMEOUT_SECONDS)
            elif full:
                await self._enqueue(ids, full)

    async def drain(self, timeout_seconds: float) -> int:
        """Let the running calls end, for at most ``timeout_seconds``; return how many did not."""
        self._is_ending = True
        if not self._tasks:
            return 0
        _, left = await asyncio.wait(set(self._tasks), timeout=timeout_seconds)
        return len(left)

    def _start(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _log_outcome(self, claim: Claim[RequestT], status: Result) -> None:
        if status is None:
            message = "%s %s was taken over by another worker; the answer was stored as evidence"
            extra = {**self._log_context(claim), "event": f"{self._name}.taken_over"}
            logger.warning(message, self._name, claim.id, extra=extra)
        elif logger.isEnabledFor(logging.INFO):
            context = self._log_context(claim)
            logger.info("%s %s: %s → %s", self._name, claim.id, claim.step, status, extra=context)

    def _log_context(self, claim: Claim[RequestT]) -> dict[str, Any]:
        return {f"{self._name}_id": claim.id, "request_id": claim.request_id, "attempt": claim.attempt_number}
