"""Generate any mix of requests, in a process of its own: ``python -m benchmarks.requests_load``.

| job             | how requests follow each other                                                                    |
|-----------------|---------------------------------------------------------------------------------------------------|
| with `arrivals` | open: each request is sent at its time, and its latency begins at that time                       |
| with `seconds`  | closed: each connection sends its next request after an answer; kinds are drawn by their weights  |
| neither         | closed, until each request was sent once; with `drained_when`, until that query returns true too  |

CPU time is read at both ends of the measured window. In a job that ends with its requests, the window begins after a tenth of
them, which is the warm-up.
"""

import asyncio
import gc
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import count, cycle
from typing import Any

import psycopg
import uvloop

from benchmarks.cpu_time import CpuMeter, Reading, cpu_seconds_between
from benchmarks.terminal import ANSWER_WITHIN_SECONDS, Answer, Connection

WARM_UP_SHARE = 0.1
DRAWN = 20_000  # kinds drawn in advance, so that a draw costs the client nothing
DRAIN_PAUSE_SECONDS = 0.02
RETRY_SECONDS = 1.0  # what `Retry-After` says in an answer of 503
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of one kind: ``[method, path, number of the token or -1, body]``.

    ``{key}`` in a body is replaced by a text that no other request has.
    """

    requests: list[list[Any]]
    weight: int = 1
    content_type: str = JSON
    is_once: bool = False  # no request may be sent again, in a job with ``seconds``
    is_retried: bool = False  # after an answer of 503: for rows that a measurement only needs


@dataclass(frozen=True, slots=True)
class RequestsJob:
    """A job: what to send, and to which processes the CPU time belongs."""

    host: str
    port: int
    tokens: list[str]
    database_url: str
    pids: dict[str, int]
    run: str
    kinds: dict[str, Kind]
    in_flight: int = 64
    warm_up: float = 0.0
    seconds: float = 0.0
    arrivals: list[float] = field(default_factory=list)  # seconds after the start
    drained_when: str = ""


@dataclass(slots=True)
class RequestFindings:
    """The figures of the measured window."""

    seconds: float = 0.0
    count: int = 0
    answers: dict[str, Counter[str]] = field(default_factory=dict)  # by kind, then by status
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, float] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)  # the first few answers that were not 2xx


class Sender:
    """A connection that sends requests one after the other, and connects again if it was closed."""

    def __init__(self, job: RequestsJob) -> None:
        self._job = job
        self._connection = Connection()

    async def send(self, request: bytes) -> Answer:
        """Send a request; a connection that breaks or a timeout is an answer with status 0."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
                if not self._connection.is_open:
                    loop: Any = asyncio.get_running_loop()
                    _, self._connection = await loop.create_connection(Connection, self._job.host, self._job.port)
                return await self._connection.exchange(request)
        except (OSError, TimeoutError) as error:
            self._connection.close()
            self._connection = Connection()
            return Answer(0, type(error).__name__.encode())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class RequestsLoad:
    """A generator of the load of one job."""

    def __init__(self, job: RequestsJob, session: "psycopg.AsyncConnection[tuple[Any, ...]]") -> None:
        self._job = job
        self._session = session
        self._meter = CpuMeter(job.pids, session_pid=session.info.backend_pid)
        self._found = RequestFindings(
            answers={name: Counter() for name in job.kinds}, milliseconds={name: [] for name in job.kinds}
        )
        self._numbers = count()
        self._is_measuring = self._is_over = False
        self._before: Reading | None = None

    async def run(self) -> RequestFindings:
        """Send the requests as the job says, and return what was measured."""
        if self._job.arrivals:
            await self._open()
        elif self._job.seconds:
            await self._closed_for_a_time()
        else:
            await self._closed_until_the_end()
        return self._found

    async def _closed_for_a_time(self) -> None:
        source = self._endless()
        tasks = [asyncio.create_task(self._keep_sending(source)) for _ in range(self._job.in_flight)]
        await self._watch(tasks, self._job.warm_up)
        self._begin()
        await self._watch(tasks, self._job.seconds)
        self._end()
        await asyncio.gather(*tasks)

    async def _closed_until_the_end(self) -> None:
        whole = [(name, request) for name, kind in self._job.kinds.items() for request in kind.requests]
        warm_up = int(len(whole) * WARM_UP_SHARE)
        await self._send_all(whole[:warm_up])
        self._begin()
        await self._send_all(whole[warm_up:])
        self._end()

    async def _send_all(self, part: list[tuple[str, list[Any]]]) -> None:
        source = iter(part)
        await asyncio.gather(*(self._keep_sending(source) for _ in range(self._job.in_flight)))
        await self._drain()

    async def _open(self) -> None:
        free: list[Sender] = []
        source = self._endless()
        first = time.perf_counter()
        tasks = []

        async def send_at(instant: float, name: str, request: list[Any]) -> None:
            sender = free.pop() if free else Sender(self._job)
            await self._send(sender, name, request, since=instant)
            free.append(sender)

        self._begin()
        for after in self._job.arrivals:
            await asyncio.sleep(max(0.0, first + after - time.perf_counter()))
            tasks.append(asyncio.create_task(send_at(first + after, *next(source))))
        await asyncio.gather(*tasks)
        self._end()
        for sender in free:
            sender.close()

    def _endless(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield requests of the kinds, drawn by their weights."""
        sources = {
            name: iter(kind.requests) if kind.is_once else cycle(kind.requests)
            for name, kind in self._job.kinds.items()
        }
        weights = [kind.weight for kind in self._job.kinds.values()]
        drawn = random.Random(self._job.run).choices(list(sources), weights=weights, k=DRAWN)
        for name in cycle(drawn):
            request = next(sources[name], None)
            if request is None:
                raise SystemExit(f"The job has too few requests of kind {name}: give it more.")
            yield name, request

    async def _watch(self, tasks: "list[asyncio.Task[None]]", seconds: float) -> None:
        """Let the tasks run for ``seconds``.

        Raises the error of any task, because the figures would be void.
        """
        ended, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in ended:
            task.result()

    async def _keep_sending(self, source: Iterator[tuple[str, list[Any]]]) -> None:
        sender = Sender(self._job)
        for name, request in source:
            await self._send(sender, name, request, since=time.perf_counter())
            if self._is_over:
                break
        sender.close()

    async def _send(self, sender: Sender, name: str, request: list[Any], *, since: float) -> None:
        kind = self._job.kinds[name]
        answer = await sender.send(self._rendered(request, kind.content_type))
        while answer.status == 503 and kind.is_retried:
            await asyncio.sleep(RETRY_SECONDS)
            answer = await sender.send(self._rendered(request, kind.content_type))
        if self._is_measuring:
            self._found.count += 1
            self._found.answers[name][str(answer.status or "no answer")] += 1
            self._found.milliseconds[name].append(1_000 * (time.perf_counter() - since))
        if not 200 <= answer.status < 300 and len(self._found.complaints) < 3:
            self._found.complaints.append(f"{name}: {answer.status} {answer.body.decode(errors='replace')[:200]}")

    def _rendered(self, request: list[Any], content_type: str) -> bytes:
        method, path, token, body = request
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._job.host}:{self._job.port}"]
        if token >= 0:
            lines.append(f"Authorization: Bearer {self._job.tokens[token % len(self._job.tokens)]}")
        if method == "POST":
            key = f"{self._job.run}-{next(self._numbers)}"
            body = body.replace("{key}", key)
            lines += [f"Content-Type: {content_type}", f"Idempotency-Key: {key}", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", body]).encode()

    async def _drain(self) -> None:
        while self._job.drained_when:
            cursor = await self._session.execute(self._job.drained_when)
            row = await cursor.fetchone()
            if row and row[0]:
                return
            await asyncio.sleep(DRAIN_PAUSE_SECONDS)

    def _begin(self) -> None:
        self._before = self._meter.read()
        self._is_measuring = True

    def _end(self) -> None:
        assert self._before
        after = self._meter.read()
        self._found.seconds = after.at - self._before.at
        self._found.processor = cpu_seconds_between(self._before, after)
        self._is_measuring, self._is_over = False, True


async def run_job(job: RequestsJob) -> RequestFindings:
    """Run ``job``, with its own database session."""
    async with await psycopg.AsyncConnection.connect(job.database_url, autocommit=True) as session:
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        return await RequestsLoad(job, session).run()


def main() -> None:
    """Read the job, run it and write the findings."""
    values = json.load(sys.stdin)
    values["kinds"] = {name: Kind(**kind) for name, kind in values["kinds"].items()}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(run_job(RequestsJob(**values)))
    json.dump({each.name: getattr(found, each.name) for each in fields(found)}, sys.stdout)


if __name__ == "__main__":
    main()
