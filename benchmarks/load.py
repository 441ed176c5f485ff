"""Generate load in a separate process: ``python -m benchmarks.load`` reads a job on stdin and writes its findings.

| kind    | terminals                                                      | result                           |
|---------|----------------------------------------------------------------|----------------------------------|
| closed  | each submits its next payment when its last one is final       | payments/s, CPU time per payment |
| waiting | the same, and each asks the API for the outcome, by `?wait=25` | the same, and answers by status  |
| open    | payments are submitted at fixed times, however slow the target | the latency of each payment      |

In the open loop, the latency of a payment is measured from the time at which it should have been submitted. So a server that
stalls is charged for every payment that it delayed, not only for one.
"""

import asyncio
import gc
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

import psycopg
import uvloop

from benchmarks.completion_poller import CompletionPoller
from benchmarks.cpu_time import CpuMeter, Reading, cpu_seconds_between
from benchmarks.terminal import ANSWER_WITHIN_SECONDS, Answer, Terminal, payment_id, payment_state

CREATED, OK = 201, 200
FINAL = frozenset({"completed", "failed", "cancelled"})
REST_SECONDS = 0.1  # pause of a terminal after a refusal
DRAIN_SECONDS = 60.0  # for payments in flight when the load ends


@dataclass(frozen=True, slots=True)
class Job:
    """A job: what to submit, and to which target."""

    kind: str
    host: str
    port: int
    tokens: list[str]
    database_url: str
    pids: dict[str, int]
    run: str  # makes references and keys unique between runs
    warm_up: float
    seconds: float
    in_flight: int
    rate: float
    pause_seconds: float


@dataclass(slots=True)
class Findings:
    """The figures of the measured window."""

    seconds: float = 0.0
    created: int = 0
    completed: int = 0
    statuses: Counter[str] = field(default_factory=Counter)  # of all payments, including warm-up and drain
    answers: Counter[str] = field(default_factory=Counter)  # of the API, by status
    errors: Counter[str] = field(default_factory=Counter)
    unfinished: int = 0
    post_ms: list[float] = field(default_factory=list)
    final_ms: list[float] = field(default_factory=list)
    processor: dict[str, float] = field(default_factory=dict)


class Load:
    """A generator of the load of one job, which submits payments and measures their latencies."""

    def __init__(self, job: Job, poller: CompletionPoller) -> None:
        self._job = job
        self._poller = poller
        self._meter = CpuMeter(job.pids, session_pid=poller.pid)
        self._found = Findings()
        self._is_measuring = False
        self._is_over = False
        self._terminals: list[Terminal] = []

    async def run(self) -> Findings:
        """Submit payments as the job says, wait until they are final, and return what was measured."""
        watching = asyncio.create_task(self._poller.run())
        try:
            tasks = await {"closed": self._closed, "waiting": self._closed, "open": self._open}[self._job.kind]()
            _, left = await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
            self._found.unfinished = len(left)
            for task in left:
                task.cancel()
        finally:
            watching.cancel()
        return self._found

    async def _closed(self) -> "set[asyncio.Task[None]]":
        terminals = [self._terminal(number) for number in range(self._job.in_flight)]
        tasks = {asyncio.create_task(self._keep_submitting(terminal)) for terminal in terminals}
        await asyncio.sleep(self._job.warm_up)
        before = self._begin()
        await asyncio.sleep(self._job.seconds)
        self._end(before)
        return tasks

    async def _keep_submitting(self, terminal: Terminal) -> None:
        while not self._is_over:
            if not await self._submit(terminal, time.perf_counter()):
                await asyncio.sleep(REST_SECONDS)
        terminal.close()

    async def _open(self) -> "set[asyncio.Task[None]]":
        free = [self._terminal(number) for number in range(8)]
        tasks: set[asyncio.Task[None]] = set()

        async def submit_at(instant: float) -> None:
            terminal = free.pop() if free else self._terminal(len(tasks))
            await self._submit(terminal, instant, give_back=free)

        first = time.perf_counter()
        before: Reading | None = None
        for number in range(int((self._job.warm_up + self._job.seconds) * self._job.rate)):
            instant = first + number / self._job.rate
            await asyncio.sleep(max(0.0, instant - time.perf_counter()))
            if before is None and instant - first >= self._job.warm_up:
                before = self._begin()
            tasks.add(asyncio.create_task(submit_at(instant)))
        if before is not None:
            self._end(before)
        return tasks

    def _terminal(self, number: int) -> Terminal:
        tokens = self._job.tokens
        return Terminal(self._job.host, self._job.port, tokens[number % len(tokens)], self._job.run)

    def _begin(self) -> Reading:
        self._is_measuring = True
        return self._meter.read()

    def _end(self, before: Reading) -> None:
        after = self._meter.read()
        self._found.seconds = after.at - before.at
        self._found.processor = cpu_seconds_between(before, after)
        self._is_measuring = False
        self._is_over = True

    async def _submit(self, terminal: Terminal, begun: float, *, give_back: list[Terminal] | None = None) -> bool:
        """Submit one payment and wait until it is final; return whether it was accepted.

        ``terminal`` is appended to ``give_back`` as soon as the answer to its request has arrived.
        """
        is_measured, found = self._is_measuring, self._found
        try:
            async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
                answer = await terminal.submit()
        except (OSError, TimeoutError) as error:
            terminal.close()
            found.errors[type(error).__name__] += 1
            return False
        answered = time.perf_counter()
        found.answers[str(answer.status)] += 1
        if give_back is not None:
            give_back.append(terminal)
        if answer.status != CREATED:
            found.errors[str(answer.status)] += 1
            return False
        found.created += self._is_measuring
        try:
            status, seen_at = await self._await_outcome(terminal, answer)
        except (OSError, TimeoutError) as error:
            terminal.close()
            found.errors[type(error).__name__] += 1
            return False
        found.statuses[status] += 1
        found.completed += self._is_measuring and status == "completed"
        if is_measured:
            found.post_ms.append((answered - begun) * 1000)
            found.final_ms.append((seen_at - answered) * 1000)
        return True

    async def _await_outcome(self, terminal: Terminal, accepted: Answer) -> tuple[str, float]:
        """Return the final status of a payment, and when it was seen: in the database, or by a waiting GET."""
        if self._job.kind != "waiting":
            return await self._poller.final_status(payment_id(accepted.body))
        named, (status, version) = payment_id(accepted.body), payment_state(accepted.body)
        while status not in FINAL:
            async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
                answer = await terminal.wait_for_change(named, version)
            self._found.answers[str(answer.status)] += 1
            if answer.status == OK:
                status, version = payment_state(answer.body)
            else:
                self._found.errors[str(answer.status)] += 1
                await asyncio.sleep(REST_SECONDS)
        return status, time.perf_counter()


async def run_job(job: Job) -> Findings:
    """Run ``job``, with its own database session."""
    # Look up by key from the start: a plan cached for the empty table would read the whole table 50 times a second.
    options = "-c enable_seqscan=off"
    async with await psycopg.AsyncConnection.connect(job.database_url, autocommit=True, options=options) as connection:
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        return await Load(job, CompletionPoller(connection, pause_seconds=job.pause_seconds)).run()


def main() -> None:
    """Read the job, run it and write the findings."""
    job = Job(**json.load(sys.stdin))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(run_job(job))
    result: dict[str, Any] = {field_.name: getattr(found, field_.name) for field_ in fields(found)}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
