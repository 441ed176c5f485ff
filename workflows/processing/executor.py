"""Run payments or refunds through claim (``LeaseExecutor._advance``), call and record (``_run_claim``).

| phase  | transaction   | connection | what                                                            |
|--------|---------------|------------|-----------------------------------------------------------------|
| claim  | one per batch | one        | status, lease, fence; the attempt is written ahead              |
| call   | none          | none       | as many calls at once as the provider has slots                 |
| record | one per group | one        | the answers that are ready, in the groups that form             |

A row is claimed only if there is a slot for it (``capacity``), and its call begins right after the claim. Ids for which there
is no slot wait in a queue, and are claimed when a slot becomes free.

One bad row never fails its batch, and a slow row never delays a finished one. Once its rows are claimed, a batch waits for
them for at most ``BATCH_TIMEOUT_SECONDS``; then the calls continue in the background. That is safe because the rows, not the
message, hold the remaining work: if this process dies, the lease expires and the provider is asked about the attempt.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any, Generic, NamedTuple

from workflows.errors import ServiceUnavailable
from workflows.ids import WELL_FORMED
from workflows.processing.call_metrics import count_call
from workflows.processing.capacity import Capacity, WaitingIds
from workflows.processing.decide import RetryPolicy, decide
from workflows.processing.decision import Decision
from workflows.processing.leases import Claim, RequestT
from workflows.processing.lost_answers import ClaimInDoubt, was_committed
from workflows.processing.next_step import SENDS, Step
from workflows.processing.recorder import GROUP_LIMIT, Recorder
from workflows.processing.task_summary import LEFT_TO_SWEEP, RowSummary, TaskSummary, summarise_row, summarise_task
from workflows.processing.workload import AnsweredClaim, Workload
from workflows.providers.base import Answer, Succeeded, Unavailable
from workflows.providers.registry import Providers
from workflows.settings import Settings

logger = logging.getLogger(__name__)

BATCH_TIMEOUT_SECONDS = 1.0
"""How long a batch waits for its claimed rows: longer than a usual provider call, far shorter than a hanging one."""

WAITING_BATCHES = 4
"""Batches that may hold a prefetched message while providers are called, unless the worker says how many. Waiting slows down
the messages when providers are slow; but if all could wait, one provider that hangs would delay cash payments too."""

POISON_CANDIDATES = "poison candidates"
"""The name of the queue of rows that are claimed one by one. No provider has this name."""


class StartedRow(NamedTuple):
    """A claimed row. ``task`` calls the provider named ``provider`` (``None``: no call is needed) and records the answer."""

    provider: str | None
    task: "asyncio.Task[RowSummary]"


class LeaseExecutor(Generic[RequestT]):
    """Processes the rows of one workload in this process. It belongs to one event loop."""

    def __init__(
        self, workload: Workload[RequestT], *, settings: Settings, providers: Providers, worker: str, waiting: int = 0
    ) -> None:
        self._workload, self._name, self._worker = workload, workload.entity, worker
        self._settings = settings
        self._providers = providers
        self._batch_limit = min(GROUP_LIMIT, settings.payments_in_hand)
        self._capacity = Capacity(providers.remote, calls=settings.calls_in_flight, rows=settings.payments_in_hand)
        self._waiting_ids = {name: WaitingIds() for name in providers.remote}
        self._poison_candidates = WaitingIds()
        self._queue_tasks: dict[str, asyncio.Task[None]] = {}
        self._waiting_batches = asyncio.Semaphore(waiting or WAITING_BATCHES)
        self._recorder = Recorder(workload, worker=worker, retry_seconds=settings.lease_seconds / 2)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_ending = False

    async def process(self, ids: Sequence[object]) -> TaskSummary:
        """Advance the rows ``ids`` by one step each, and return how the steps ended.

        A repeated, late, concurrent or missing call is harmless. Raises ``TypeError`` if ``ids`` is not a list,
        ``ServiceUnavailable`` if the database is unavailable, and ``ValueError`` at the end for malformed ids.
        """
        if not isinstance(ids, list):
            raise TypeError(f"{self._name}s are processed by a list of their ids, not {type(ids).__name__}")
        wanted = [row_id for row_id in ids if isinstance(row_id, str) and WELL_FORMED.fullmatch(row_id)]
        starts = range(0, len(wanted), self._batch_limit)
        tasks = [task for start in starts for task in await self._run_batch(wanted[start : start + self._batch_limit])]
        if len(wanted) < len(ids):
            raise ValueError(f"{len(ids) - len(wanted)} of these {len(ids)} are not valid ids")
        return summarise_task(tasks, count=len(wanted))

    async def _run_batch(self, ids: list[str]) -> list["asyncio.Task[RowSummary]"]:
        """Advance ``ids``, and wait briefly for their tasks. Return the tasks that were started."""
        started, full = await self._advance(ids)
        give_up_at = asyncio.get_running_loop().time() + BATCH_TIMEOUT_SECONDS
        queues = await self._enqueue(ids, full) if _may_have_waiting_rows(started, ids, full) else []
        await _wait_until(give_up_at, [row.task for row in started if row.provider is None])
        remote = [*(row.task for row in started if row.provider is not None), *queues]
        if remote and not self._waiting_batches.locked():
            async with self._waiting_batches:
                await _wait_until(give_up_at, remote)
        return [row.task for row in started]

    async def _advance(self, ids: list[str]) -> tuple[list[StartedRow], frozenset[str]]:
        """Claim those of ``ids`` for which there is a slot, and start their calls.

        Return the claimed rows, and the providers that had too few free slots. Only the claim reads which provider a row has,
        so slots for all of ``ids`` are acquired at every provider first, and the unused ones are released after the claim.
        """
        full = await self._capacity.acquire(len(ids))
        claim_started_at = asyncio.get_running_loop().time()
        claims: list[tuple[Claim[RequestT], str | None]] = []
        try:
            claims = [
                (claim, self._provider_to_call(claim)) for claim in await self._claim(ids, full, claim_started_at)
            ]
        finally:
            self._capacity.release_unused(len(ids), full, (provider for _, provider in claims))
        return [
            StartedRow(provider, self._start(self._run_claim(claim, provider, claim_started_at)))
            for claim, provider in claims
        ], full

    async def _claim(self, ids: list[str], full: frozenset[str], claim_started_at: float) -> list[Claim[RequestT]]:
        """Claim ``ids``. If the COMMIT of a resume was not acknowledged, check whether it took effect.

        That is safe because no provider has been called yet.
        """
        non_idempotent = [name for name, provider in self._providers.remote.items() if not provider.deduplicates]
        lease = self._settings.lease_seconds
        try:
            return await self._workload.claim(
                ids, worker=self._worker, lease_seconds=lease, non_idempotent=non_idempotent, full=full
            )
        except ClaimInDoubt as doubt:
            if await was_committed(doubt, give_up_at=claim_started_at + lease):
                return doubt.claims
            raise

    def _provider_to_call(self, claim: Claim[RequestT]) -> str | None:
        """Return the name of the provider to call, or ``None`` for a cancel and for a local provider."""
        is_called = claim.step is not Step.CANCEL and claim.provider in self._providers.remote
        return claim.provider if is_called else None

    async def _run_claim(self, claim: Claim[RequestT], provider: str | None, claim_started_at: float) -> RowSummary:
        """Call and record one claimed row, then release its slot.

        Never raise: an error concerns this row only. ``claim_started_at`` is the loop's time before the claim. The
        lease began later, so a deadline that is computed from it is never too late.
        """
        try:
            answer = await self._call(claim, provider, claim_started_at)  # call: no transaction, no connection
            decision = self._decide(claim, answer, claim_started_at)
            status = await self._recorder.put(AnsweredClaim(claim, answer, decision))  # record: with its group
            self._log_status(claim, status)
            return summarise_row(status, decision)
        except Exception:
            # The lease expires and the sweep finds the row, whose ``unanswered_claims`` has counted this claim.
            extra = {**self._log_context(claim), "event": f"{self._name}.left_to_sweep"}
            logger.exception("%s %s was left to the sweep", self._name, claim.id, extra=extra)
            return LEFT_TO_SWEEP
        finally:
            self._capacity.release(provider)
            if provider and self._waiting_ids[provider]:
                self._start_queue(provider)

    async def _call(self, claim: Claim[RequestT], name: str | None, claim_started_at: float) -> Answer | None:
        """Return the provider's answer to the claim's step; ``None`` if no provider has to be called."""
        if claim.step is Step.CANCEL:
            return None
        if name is None:
            answer = self._workload.answer_locally(claim)
            return answer or Unavailable(f"this installation has no provider {claim.provider}")
        # Half the lease is for the call. A process that was stopped for longer sends nothing, because another worker may
        # have found the attempt unanswered and acted on it.
        elapsed = asyncio.get_running_loop().time() - claim_started_at
        if elapsed > self._settings.lease_seconds / 2:
            return Unavailable("this process was stopped between its claim and its call")
        if claim.step in SENDS and elapsed >= claim.facts.seconds_left:
            return Unavailable("it expired before it could be sent")
        not_after = claim_started_at + claim.facts.seconds_left
        call = self._workload.call_provider(self._providers.remote[name], claim, not_after=not_after)
        return await count_call(self._name, name, claim.step, call)

    def _decide(self, claim: Claim[RequestT], answer: Answer | None, claim_started_at: float) -> Decision:
        """Return what to record for ``answer``; the payment may have expired since the claim.

        A success is recorded however late it is, so the time since the claim is not computed for it.
        """
        facts = claim.facts
        if not isinstance(answer, Succeeded):
            facts = replace(facts, elapsed_seconds=asyncio.get_running_loop().time() - claim_started_at)
        return decide(claim.step, answer, facts=facts, policy=self._retry_policy(claim.provider))

    def _retry_policy(self, name: str) -> RetryPolicy:
        provider = self._providers.remote.get(name)
        return RetryPolicy(
            max_processing_seconds=provider.max_processing_seconds if provider else 0.0,
            review_after_seconds=self._settings.review_after_seconds,
            scale=self._settings.doubt_schedule_scale,
        )

    async def _enqueue(self, ids: list[str], full: frozenset[str]) -> list["asyncio.Task[None]"]:
        """Queue those of ``ids`` that can be claimed later; return the tasks that empty their queues.

        A poison candidate may be claimed only on its own. So the candidates of a batch are queued apart, but a single
        id waits for its provider, like any other row.
        """
        names: set[str] = set()
        for row in await self._workload.unclaimed_rows(ids, full=full, lease_seconds=self._settings.lease_seconds):
            name = POISON_CANDIDATES if row.is_poison_candidate and len(ids) > 1 else row.provider
            waiting = self._poison_candidates if name == POISON_CANDIDATES else self._waiting_ids.get(name)
            if waiting is not None:
                waiting.add([row.id])
                names.add(name)
        for name in names:
            self._start_queue(name)
        return [self._queue_tasks[name] for name in names if name in self._queue_tasks]

    def _start_queue(self, name: str) -> None:
        """Start a task for queue ``name`` unless it has one, no slot is free for it, or the executor drains."""
        if self._is_ending or name in self._queue_tasks:
            return
        if name == POISON_CANDIDATES:
            self._queue_tasks[name] = self._start(self._run_queue(name, self._run_poison_candidates()))
        elif self._waiting_ids[name] and self._capacity.free_slots(name):
            self._queue_tasks[name] = self._start(self._run_queue(name, self._run_waiting(name)))

    async def _run_queue(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        extra = {"event": f"{self._name}.queue_left_to_sweep"}
        try:
            await work
        except ServiceUnavailable as error:
            logger.warning("%ss in the queue %r are left to the sweep: %s", self._name, name, error, extra=extra)
        except Exception:
            logger.exception("%ss in the queue %r are left to the sweep", self._name, name, extra=extra)
        finally:
            del self._queue_tasks[name]

    async def _run_waiting(self, name: str) -> None:
        """Advance waiting ids of the provider ``name`` while it has free slots; a freed slot restarts this."""
        waiting = self._waiting_ids[name]
        while not self._is_ending and (count := min(len(waiting), self._capacity.free_slots(name), self._batch_limit)):
            ids = waiting.pop(count)
            started, full = await self._advance(ids)
            if _may_have_waiting_rows(started, ids, full):
                await self._enqueue(ids, full)

    async def _run_poison_candidates(self) -> None:
        """Advance candidates one by one, so that two rows that may crash this process never run together."""
        while self._poison_candidates and not self._is_ending:
            ids = self._poison_candidates.pop(1)
            started, full = await self._advance(ids)
            if started:
                await asyncio.wait([row.task for row in started], timeout=BATCH_TIMEOUT_SECONDS)
            elif full:
                await self._enqueue(ids, full)

    async def drain(self, timeout_seconds: float) -> int:
        """Stop starting work, wait up to ``timeout_seconds`` for running tasks, and return how many are left."""
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

    def _log_status(self, claim: Claim[RequestT], status: str | None) -> None:
        if status is None:
            message = "%s %s was taken over by another worker; the answer was stored as evidence"
            extra = {**self._log_context(claim), "event": f"{self._name}.taken_over"}
            logger.warning(message, self._name, claim.id, extra=extra)
        elif logger.isEnabledFor(logging.INFO):
            context = self._log_context(claim)
            logger.info("%s %s: %s → %s", self._name, claim.id, claim.step, status, extra=context)

    def _log_context(self, claim: Claim[RequestT]) -> dict[str, Any]:
        return {f"{self._name}_id": claim.id, "request_id": claim.request_id, "attempt": claim.attempt_number}


def _may_have_waiting_rows(started: Sequence[StartedRow], ids: Sequence[str], full: frozenset[str]) -> bool:
    """Return whether some of ``ids`` were not claimed but may be claimed later.

    A single id that was not claimed although every provider had slots is leased by another worker, or is not due. Putting it
    into a queue would retry it endlessly.
    """
    return len(started) < len(ids) and bool(full or len(ids) > 1)


async def _wait_until(deadline: float, tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Wait for ``tasks``, at most until the loop's time ``deadline``."""
    if tasks := list(tasks):
        await asyncio.wait(tasks, timeout=deadline - asyncio.get_running_loop().time())
