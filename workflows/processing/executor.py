"""Run claimed payments and refunds through claim, call and record.

| phase  | transaction | connection | what                                                                  |
|--------|-------------|------------|-----------------------------------------------------------------------|
| claim  | one a batch | one        | status, lease, fence, attempt written ahead                            |
| call   | none        | none       | as many calls at once as the provider has places                       |
| record | one a group | one        | the answers that are ready, in the groups that form                    |

A row is claimed only if there is a place for it (``room``), and its call begins right after; ids that find no place wait,
and are claimed when a place becomes free.

One bad row never fails its batch, and a slow one never delays a finished one: a batch's caller waits only
``PATIENCE_SECONDS`` for it, then the calls go on by themselves. That is safe because the rows, not the message, hold the
remaining work: if this process dies, the lease runs out and the attempt is asked about.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol

from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.lock import HeldUp, Locking
from workflows.ids import WELL_FORMED
from workflows.processing.calls import counted
from workflows.processing.capacity import Rooms, Waiting
from workflows.processing.decide import Schedule, Verdict, verdict
from workflows.processing.ended import LEFT, Ended, ended, outcome_of
from workflows.processing.leases import AskedT, Claim, ClaimInDoubt, LeaseTable, took_effect
from workflows.processing.next_step import SENDS, Step
from workflows.processing.outcome import Outcome
from workflows.processing.recording import GROUP_LIMIT, Recording
from workflows.providers.base import Answer, Provider, Succeeded, Unavailable
from workflows.providers.registry import Providers
from workflows.settings import Settings

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 1.0
"""How long a batch holds its worker thread: longer than a usual provider call, far shorter than a hanging one."""

WAITING_CALLERS = 4
"""Batches that may hold a worker thread while providers are called, a quarter of a worker's threads: waiting paces the
messages, and if all threads could wait, one provider that hangs would delay cash payments too."""


@dataclass(frozen=True, slots=True)
class Answered(Generic[AskedT]):
    """A claimed row, what the provider said, and what that means."""

    claimed: Claim[AskedT]
    answer: Answer | None
    verdict: Verdict


Aftermath = Callable[[AsyncConnection, Sequence[RowMapping], str], Awaitable[None]]
"""What else has to happen in the transaction that recorded these rows, by which worker."""


class Record(Protocol[AskedT]):
    """Records answers in one transaction (``record_answers``, ``record_refunds``)."""

    async def __call__(
        self, group: list[Answered[AskedT]], *, worker: str, aftermath: Sequence[Aftermath], locking: Locking
    ) -> list[str | HeldUp | None]:
        """Each row's status now, ``None`` where the fence had moved on, ``HeldUp`` where its bill is."""
        ...


@dataclass(frozen=True)
class Work(Generic[AskedT]):
    """What is different between one kind of work and another.

    ``ask`` puts the claim's question to a remote provider, and sends nothing that moves money from the loop's time that it is
    given on; ``settle`` answers for a local one (``None``: it is not local).
    """

    table: LeaseTable[AskedT]
    ask: Callable[[Provider, Claim[AskedT], float], Awaitable[Answer]]
    settle: Callable[[Claim[AskedT]], Answer | None]
    record: Record[AskedT]


Carried = tuple[str | None, "asyncio.Task[Any]"]
"""The provider that is called (``None``: none), and the task that ends with the row's record and returns how it ended."""

SUSPECTS = ""
"""The name of the queue of rows that are claimed one by one."""


class Hands(Generic[AskedT]):
    """The rows of one kind that this process has in hand. Lives on one event loop."""

    def __init__(
        self,
        work: Work[AskedT],
        *,
        settings: Settings,
        providers: Providers,
        worker: str,
        aftermath: Sequence[Aftermath] = (),
    ) -> None:
        self._work = work
        self._name = work.table.entity
        self._worker = worker
        self._settings = settings
        self._providers = providers
        self._page = min(GROUP_LIMIT, settings.payments_in_hand)
        self._rooms = Rooms(providers.remote, calls=settings.calls_in_flight, in_hand=settings.payments_in_hand)
        self._waiting = {name: Waiting() for name in providers.remote}
        self._suspects = Waiting()
        self._lines: dict[str, asyncio.Task[Any]] = {}
        self._callers = asyncio.Semaphore(WAITING_CALLERS)
        write = partial(work.record, worker=worker, aftermath=aftermath)
        self._recording: Recording[Answered[AskedT]] = Recording(write, insist_seconds=settings.lease_seconds / 2)
        self._carried: set[asyncio.Task[Any]] = set()
        self._is_ending = False

    async def process(self, ids: Sequence[object]) -> Outcome:
        """Advance these rows by one step each, and return how they ended. Safe to call twice, late, at once, or never.

        A message may bring anything: what is no id is told only after the others were seen to. Raises ``TypeError`` and
        ``ValueError`` for that, and ``ServiceUnavailable`` where the database is away while claiming.
        """
        if not isinstance(ids, list):
            raise TypeError(f"{self._name}s are processed by a list of their ids, not {type(ids).__name__}")
        wanted = [one for one in ids if isinstance(one, str) and WELL_FORMED.fullmatch(one)]
        pages = range(0, len(wanted), self._page)
        begun = [task for start in pages for task in await self._take_in_hand(wanted[start : start + self._page])]
        if len(wanted) < len(ids):
            raise ValueError(f"{len(ids) - len(wanted)} of these {len(ids)} are no ids")
        return outcome_of(begun, count=len(wanted))

    async def _take_in_hand(self, ids: list[str]) -> list["asyncio.Task[Any]"]:
        """Claim ``ids`` and begin to carry them, then wait a little for those that are done soon; return what was begun."""
        carried, full = await self._claim(ids)
        begun = [task for _, task in carried]
        if len(carried) < len(ids) and (full or len(ids) > 1):
            carried += await self._let_wait(ids, full)
        mine = [task for provider, task in carried if provider is None]
        if mine:
            await asyncio.wait(mine, timeout=PATIENCE_SECONDS)
        others = [task for provider, task in carried if provider is not None]
        if others and not self._callers.locked():
            async with self._callers:
                await asyncio.wait(others, timeout=PATIENCE_SECONDS)
        return begun

    async def _claim(self, ids: list[str]) -> tuple[list[Carried], frozenset[str]]:
        """Claim those of ``ids`` for which there is a place and begin to carry them; name the providers without places."""
        full = await self._rooms.take(len(ids))
        began = asyncio.get_running_loop().time()  # before the claim: its lease is counted from within
        claimed: list[Claim[AskedT]] = []
        try:
            claimed = await self._claimed(ids, full, began)
        finally:
            self._rooms.keep(len(ids), full, map(self._asked, claimed))
        return [(self._asked(one), self._start(self._carry(one, began))) for one in claimed], full

    async def _claimed(self, ids: list[str], full: frozenset[str], began: float) -> list[Claim[AskedT]]:
        """Claim ``ids``. If the answer to the COMMIT was lost, find out its outcome: no provider was called yet."""
        forgetful = [name for name, one in self._providers.remote.items() if not one.deduplicates]
        lease = self._settings.lease_seconds
        try:
            return await self._work.table.claim(
                ids, worker=self._worker, lease_seconds=lease, forgetful=forgetful, full=full
            )
        except ClaimInDoubt as doubt:
            if await took_effect(doubt, within_seconds=began + lease - asyncio.get_running_loop().time()):
                return doubt.claims
            raise

    def _asked(self, claimed: Claim[AskedT]) -> str | None:
        """Return the provider that will be called, or ``None``."""
        is_asked = claimed.step is not Step.CANCEL and claimed.provider in self._providers.remote
        return claimed.provider if is_asked else None

    async def _let_wait(self, ids: list[str], full: frozenset[str]) -> list[Carried]:
        """Put those of ``ids`` that are free into their queues; return the tasks that empty these queues."""
        lines: set[str] = set()
        for left in await self._work.table.left_over(ids, full=full, lease_seconds=self._settings.lease_seconds):
            name = SUSPECTS if left.is_suspect and len(ids) > 1 else left.provider
            waiting = self._suspects if name == SUSPECTS else self._waiting.get(name)
            if waiting is not None:
                waiting.add([left.id])
                lines.add(name)
        return [(name, self._lines[name]) for name in lines if self._take_up(name)]

    def _take_up(self, name: str) -> bool:
        """Start a task for the queue ``name`` if it has none and one is possible; return whether there is a task."""
        if self._is_ending:
            return False
        if name not in self._lines and (name == SUSPECTS or (self._waiting[name] and self._rooms.free(name))):
            work = self._take_up_suspects() if name == SUSPECTS else self._take_up_waiting(name)
            self._lines[name] = self._start(self._in_line(name, work))
        return name in self._lines

    async def _in_line(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            logger.warning("%ss that wait for %s are left to the sweep: %s", self._name, name, error)
        finally:
            del self._lines[name]

    async def _take_up_waiting(self, name: str) -> None:
        """Claim as many waiting ids of the provider ``name`` as it has places; each place that becomes free starts this."""
        waiting = self._waiting[name]
        while (count := min(len(waiting), self._rooms.free(name), self._page)) and not self._is_ending:
            ids = waiting.take(count)
            carried, full = await self._claim(ids)
            # A single id that found a place belongs to another worker: a queue would try it endlessly.
            if len(carried) < count and (full or count > 1):
                await self._let_wait(ids, full)

    async def _take_up_suspects(self) -> None:
        """Claim suspects one by one, so that two rows that may crash this process are never in hand at once."""
        while self._suspects and not self._is_ending:
            ids = self._suspects.take(1)
            carried, full = await self._claim(ids)
            if carried:
                await asyncio.wait([task for _, task in carried], timeout=PATIENCE_SECONDS)
            elif full:
                await self._let_wait(ids, full)

    async def drain(self, timeout_seconds: float) -> int:
        """Let the calls in hand end, for ``timeout_seconds`` at most; returns how many did not."""
        self._is_ending = True
        if not self._carried:
            return 0
        _, left = await asyncio.wait(set(self._carried), timeout=timeout_seconds)
        return len(left)

    def _start(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)
        return task

    async def _carry(self, claimed: Claim[AskedT], began: float) -> Ended:
        """Take one claimed row, whose claim ``began`` then, through its call and its record; return how it ended."""
        try:
            answer = await self._call(claimed, began)
            facts = claimed.facts
            if not isinstance(answer, Succeeded):
                facts = replace(facts, elapsed_seconds=asyncio.get_running_loop().time() - began)
            decided = verdict(claimed.step, answer, facts=facts, schedule=self._schedule(claimed.provider))
            status = await self._recording.put(Answered(claimed, answer, decided))
            self._tell(claimed, status)
            return ended(status, decided)
        except Exception:
            # Whatever went wrong is this row's alone: its lease runs out and it is asked about. Counted by the row.
            logger.exception("%s %s was left to the sweep", self._name, claimed.id, extra=self._marks(claimed))
            return LEFT
        finally:
            asked = self._asked(claimed)
            self._rooms.give(asked)
            if asked and self._waiting[asked]:
                self._take_up(asked)

    async def _call(self, claimed: Claim[AskedT], began: float) -> Answer | None:
        if claimed.step is Step.CANCEL:
            return None
        settled = self._work.settle(claimed)
        if settled is not None:
            return settled
        provider = self._providers.remote.get(claimed.provider)
        if provider is None:
            return Unavailable(f"this installation has no provider {claimed.provider}")
        # Half the lease is for the call. A process that was stopped for longer sends nothing: another may have found the
        # attempt unanswered and decided without it.
        elapsed = asyncio.get_running_loop().time() - began
        if elapsed > self._settings.lease_seconds / 2:
            return Unavailable("this process was stopped between its claim and its call")
        if claimed.step in SENDS and elapsed >= claimed.facts.seconds_left:
            return Unavailable("it expired before it could be sent")
        call = self._work.ask(provider, claimed, began + claimed.facts.seconds_left)
        return await counted(self._name, claimed.provider, claimed.step, call)

    def _schedule(self, name: str) -> Schedule:
        provider = self._providers.remote.get(name)
        return Schedule(
            max_processing_seconds=provider.max_processing_seconds if provider else 0.0,
            review_after_seconds=self._settings.review_after_seconds,
            scale=self._settings.doubt_schedule_scale,
        )

    def _tell(self, claimed: Claim[AskedT], status: str | HeldUp | None) -> None:
        if status is None:
            message = "%s %s had been taken over; its answer is evidence"
            logger.warning(message, self._name, claimed.id, extra=self._marks(claimed))
        elif logger.isEnabledFor(logging.INFO):
            logger.info("%s %s: %s → %s", self._name, claimed.id, claimed.step, status, extra=self._marks(claimed))

    def _marks(self, claimed: Claim[AskedT]) -> dict[str, Any]:
        return {f"{self._name}_id": claimed.id, "request_id": claimed.request_id, "attempt": claimed.attempt_number}
