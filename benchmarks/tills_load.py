"""Let thousands of terminals wait for changes, in a process of its own: ``python -m benchmarks.tills_load``.

| phase   | what happens                                                                                              |
|---------|-----------------------------------------------------------------------------------------------------------|
| warm-up | some payments are created and read, then the memory of the API is read                                    |
| arrive  | each terminal creates a payment and waits for its next version; nothing processes the payments            |
| change  | one after the other, at a fixed rate, payments are cancelled by other connections                         |

A change is late by the time from the ``cancelled_at`` of its row, the database's clock, to the arrival of the answer at the
waiting terminal. Both clocks are the machine's. A terminal whose wait ends without a change waits again.
"""

import asyncio
import gc
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from datetime import datetime

import psutil
import uvloop

from benchmarks.cpu_time import CpuMeter, Reading, cpu_seconds_between
from benchmarks.terminal import ANSWER_WITHIN_SECONDS, Answer, Terminal, payment_id, payment_state

CREATED, OK, OVERLOADED = 201, 200, 503
API = "api"
CANCELLING = 16  # connections that cancel
AFTER_REFUSAL_SECONDS = 1.0  # what `Retry-After` says in an answer of 503


@dataclass(frozen=True, slots=True)
class TillsJob:
    """A job: how many terminals wait, how many of their payments change, and how fast."""

    host: str
    port: int
    tokens: list[str]
    pids: dict[str, int]
    run: str
    tills: int
    arrivals_per_second: float
    changes: int
    changes_per_second: float
    warm_up_payments: int


@dataclass(slots=True)
class TillsFindings:
    """The findings of a job; ``seconds`` and CPU time are those of the changes."""

    seconds: float = 0.0
    heard_ms: list[float] = field(default_factory=list)
    unheard: int = 0
    answers: Counter[str] = field(default_factory=Counter)  # of waiting requests, by status
    errors: Counter[str] = field(default_factory=Counter)
    memory_before_mb: float = 0.0
    memory_with_mb: float = 0.0
    processor: dict[str, float] = field(default_factory=dict)


class TillsLoad:
    """A generator of the load of one job."""

    def __init__(self, job: TillsJob) -> None:
        self._job = job
        self._api = psutil.Process(job.pids[API])
        self._meter = CpuMeter(job.pids)
        self._found = TillsFindings()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._all_wait = asyncio.Event()

    async def run(self) -> TillsFindings:
        """Run the three phases, and return what was measured."""
        for number in range(self._job.warm_up_payments):
            await self._create(self._terminal(number))
        self._found.memory_before_mb = self._memory_mb()
        tills = [asyncio.create_task(self._wait(number)) for number in range(self._job.tills)]
        try:
            await self._until_all_wait(tills)
            self._found.memory_with_mb = self._memory_mb()
            before = self._meter.read()
            await self._change()
            self._end(before)
        finally:
            for till in tills:
                till.cancel()
            await asyncio.gather(*tills, return_exceptions=True)
        return self._found

    async def _until_all_wait(self, tills: "list[asyncio.Task[None]]") -> None:
        """Return when every terminal waits. Raises the error of a terminal that could not create its payment."""
        all_wait = asyncio.create_task(self._all_wait.wait())
        ended, _ = await asyncio.wait([all_wait, *tills], return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()

    async def _wait(self, number: int) -> None:
        await asyncio.sleep(number / self._job.arrivals_per_second)
        terminal = self._terminal(number)
        named, version = await self._create(terminal)
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[named] = heard
        if len(self._waiting) == self._job.tills:
            self._all_wait.set()
        while True:
            answer = await self._listen(terminal, named, version)
            if answer and payment_state(answer.body) != ("pending", version):
                break
        self._found.heard_ms.append(1_000 * (time.time() - _cancelled_at(answer.body)))
        heard.set_result(None)

    async def _listen(self, terminal: Terminal, named: str, version: int) -> Answer | None:
        """Wait once for a change; ``None`` if the wait was refused or broke off."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
                answer = await terminal.wait_for_change(named, version)
        except (OSError, TimeoutError) as error:
            self._found.errors[type(error).__name__] += 1
            terminal.close()
            return None
        self._found.answers[str(answer.status)] += 1
        if answer.status == OK:
            return answer
        await self._after_refusal("wait", answer)
        return None

    async def _change(self) -> None:
        """Cancel payments at the job's rate, and wait until their terminals have heard of it."""
        chosen = random.Random(self._job.run).sample(sorted(self._waiting), self._job.changes)
        cancelling = [self._terminal(number) for number in range(CANCELLING)]
        free: asyncio.Queue[Terminal] = asyncio.Queue()
        for terminal in cancelling:
            free.put_nowait(terminal)
        first = time.perf_counter()
        tasks = []
        for number, named in enumerate(chosen):
            await asyncio.sleep(max(0.0, first + number / self._job.changes_per_second - time.perf_counter()))
            tasks.append(asyncio.create_task(self._cancel(named, free)))
        await asyncio.gather(*tasks)
        _, unheard = await asyncio.wait([self._waiting[named] for named in chosen], timeout=ANSWER_WITHIN_SECONDS)
        self._found.unheard = len(unheard)

    async def _cancel(self, named: str, free: "asyncio.Queue[Terminal]") -> None:
        terminal = await free.get()
        while (answer := await terminal.cancel(named)).status != OK:
            self._found.errors[f"cancel {answer.status}"] += 1
            await self._after_refusal("cancel", answer)
        free.put_nowait(terminal)

    async def _create(self, terminal: Terminal) -> tuple[str, int]:
        while (answer := await terminal.submit()).status != CREATED:
            self._found.errors[f"create {answer.status}"] += 1
            await self._after_refusal("create", answer)
        return payment_id(answer.body), payment_state(answer.body)[1]

    async def _after_refusal(self, what: str, answer: Answer) -> None:
        """Pause after an answer of 503. Raises ``RuntimeError`` for any other: repeating it would not help."""
        if answer.status != OVERLOADED:
            raise RuntimeError(f"{what} was answered {answer.status}: {answer.body.decode(errors='replace')[:200]}")
        await asyncio.sleep(AFTER_REFUSAL_SECONDS)

    def _end(self, before: Reading) -> None:
        after = self._meter.read()
        self._found.seconds = after.at - before.at
        self._found.processor = cpu_seconds_between(before, after)

    def _terminal(self, number: int) -> Terminal:
        # All of one store: who may see a payment does not matter here, and any terminal may cancel any of them.
        return Terminal(self._job.host, self._job.port, self._job.tokens[number % len(self._job.tokens)], self._job.run)

    def _memory_mb(self) -> float:
        return float(self._api.memory_info().rss / 2**20)


def _cancelled_at(body: bytes) -> float:
    return datetime.fromisoformat(json.loads(body)["cancelled_at"]).timestamp()


def main() -> None:
    """Read the job, run it and write the findings."""
    job = TillsJob(**json.load(sys.stdin))
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(TillsLoad(job).run())
    json.dump({each.name: getattr(found, each.name) for each in fields(found)}, sys.stdout)


if __name__ == "__main__":
    main()
