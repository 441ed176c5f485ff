"""Silence: decide which queues, workers, beat, broker or database are not heard, and log each silence once.

| part     | state      | when                                                                                |
|----------|------------|-------------------------------------------------------------------------------------|
| queue    | ``silent`` | a canary was sent through it, and none was consumed within the limit                  |
| worker   | ``silent`` | it wrote nothing within the limit                                                     |
|          | ``deaf``   | it writes, but consumed nothing within the limit                                      |
| beat     | ``silent`` | no sweep came within the limit, although the queue ``sweeps`` is consumed               |
|          | ``unknown`` | no sweep came within the limit, and nobody would have consumed it                     |
| broker   | ``silent`` | it has accepted no canary from this process for a third of the limit; meanwhile queues  |
|          |            | and the deafness of workers are ``unknown``                                           |
| database | ``silent`` | it has not answered this process for a third of the limit; all else is ``unknown``       |

A canary that was never sent makes no queue silent, so a dead sender does not make others look silent.

Ages are measured by the database's clock, which may be moved, and a laptop may sleep for a night. So each part also has a
mark that changes whenever it is heard, and a silence counts only if this process has seen the same mark for a third of the
limit on its monotonic clock: every running part changes its mark within that time.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from workflows.ops.liveness import BEAT, Heartbeat, QueueAges

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 300.0
"""A silence that continues is logged again at this interval."""

SWEEPS = "sweeps"
"""The queue that beat's messages take. Its workers note when beat was heard."""

HEARD, SILENT, DEAF, UNKNOWN = "heard", "silent", "deaf", "unknown"

ADVICE = {
    ("queue", SILENT): "no worker consumes it; check the workers of this queue",
    ("worker", SILENT): "it is dead, frozen or cut off from the database; check its process and its log",
    ("worker", DEAF): "it runs but consumes no message; check its connection to the broker, then restart it",
    ("beat", SILENT): "no sweep arrives although the queue is consumed; check beat and its connection to the broker",
    ("broker", SILENT): "it takes no message from this API process; payments are stored and processed later",
    ("database", SILENT): "it does not answer this API process, which refuses payments with 503",
}
"""Kind and state → what is known, and what an operator should check."""


class Part(NamedTuple):
    """The state of one queue, worker, beat, broker or database.

    ``seconds``: the time since it was last heard, ``None`` if never.
    """

    kind: str
    name: str
    state: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """The input of one look: the rows, and the seconds since the broker last accepted a canary."""

    ages: Mapping[str, QueueAges]
    workers: Iterable[Heartbeat]
    broker_silent: float


class Silences:
    """The silences that this process knows of. ``parts`` is the result of the last look."""

    def __init__(self, queues: Iterable[str], *, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._queues = tuple(queues)
        self._limit = limit
        self._clock = clock
        self._looked = self._answered_database = clock()
        self._marks: dict[tuple[str, ...], tuple[str, float]] = {}
        self._lasting: set[tuple[str, ...]] = set()
        self._told: dict[tuple[str, str], float] = {}
        self.parts: tuple[Part, ...] = ()

    def look(self, seen: Seen) -> None:
        """Decide the state of every part, and log silences that begin, continue or end."""
        now = self._clock()
        if now - self._looked > self._limit / 3:
            self._marks.clear()  # this process hung or its database was away: the old marks say nothing about the others
        self._looked = self._answered_database = now
        is_away = seen.broker_silent >= self._limit / 3
        found = [
            Part("database", "database", HEARD, 0),
            Part("broker", "broker", SILENT if is_away else HEARD, seen.broker_silent),
            *(self._queue(name, seen.ages.get(name), is_unknown=is_away) for name in self._queues),
            self._beat(seen, is_unknown=is_away),
            *(self._worker(one, is_unknown=is_away) for one in seen.workers),
        ]
        self._report(found)

    def look_failed(self) -> None:
        """Note that the database did not answer, so that the state of everything else is unknown."""
        silent = self._clock() - self._answered_database
        if silent >= self._limit / 3:
            others = [part._replace(state=UNKNOWN) for part in self.parts if part.kind != "database"]
            self._report([Part("database", "database", SILENT, silent), *others])

    def _queue(self, name: str, ages: QueueAges | None, *, is_unknown: bool) -> Part:
        key, answered = ("queue", name), ("answered", name)
        if ages is None:
            return Part(*key, UNKNOWN, None)
        if ages.unanswered is None or is_unknown:
            self._marks[answered] = ("", self._clock())
        if ages.unanswered is None:
            self._still(key, ages.mark)
            is_old = is_unknown and (ages.consumed or 0.0) >= self._limit
            return Part(*key, UNKNOWN if is_old else HEARD, ages.consumed)
        seconds = max(ages.unanswered, self._still(answered, ""))
        return Part(*key, self._state(key, ages.mark, seconds, SILENT, is_unknown=is_unknown), seconds)

    def _beat(self, seen: Seen, *, is_unknown: bool) -> Part:
        beat, sweeps = seen.ages.get(BEAT), seen.ages.get(SWEEPS)
        seconds, mark = (beat.consumed, beat.mark) if beat else (None, "")
        is_unknown = is_unknown or sweeps is None or not self._is_consumed(sweeps)
        return Part("beat", BEAT, self._state(("beat", BEAT), mark, seconds, SILENT, is_unknown=is_unknown), seconds)

    def _is_consumed(self, sweeps: QueueAges) -> bool:
        """Return whether beat's messages are consumed. Half of the limit is twice a canary's period."""
        if sweeps.unanswered is None:
            return self._still(("queue", SWEEPS), sweeps.mark) < self._limit / 2
        answered = self._marks.get(("answered", SWEEPS))
        return answered is not None and self._clock() - answered[1] < self._limit / 2

    def _worker(self, one: Heartbeat, *, is_unknown: bool) -> Part:
        key, (seen_mark, heard_mark) = ("worker", one.worker), one.marks
        hears = self._state((*key, "heard"), heard_mark, one.heard, DEAF, is_unknown=is_unknown)
        if self._lasts(key, seen_mark, one.seen):
            return Part(*key, SILENT, max(one.seen, self._still(key, seen_mark)))
        # A worker that has missed its last notes may soon count as silent. It is deaf only if it still writes them.
        is_writing = self._still(key, seen_mark) < self._limit / 4
        if hears == DEAF and is_writing:
            return Part(*key, DEAF, max(one.heard or 0.0, self._still((*key, "heard"), heard_mark)))
        return Part(*key, HEARD if hears == DEAF else hears, one.heard)

    def _state(self, key: tuple[str, ...], mark: str, age: float | None, bad: str, *, is_unknown: bool) -> str:
        """Return ``bad`` if the part is silent, or ``UNKNOWN`` if it may be silent but cannot be heard now."""
        if is_unknown:
            # The time until it can be heard again does not count as its silence.
            self._marks[key] = (mark, self._clock())
            return UNKNOWN if age is None or age >= self._limit else HEARD
        return bad if self._lasts(key, mark, age) else HEARD

    def _still(self, key: tuple[str, ...], mark: str) -> float:
        """Return for how long this process has seen the same mark."""
        if self._marks.get(key, (None,))[0] != mark:
            self._marks[key] = (mark, self._clock())
        return self._clock() - self._marks[key][1]

    def _lasts(self, key: tuple[str, ...], mark: str, age: float | None) -> bool:
        """Return whether the part has been silent for the limit. It then stays silent until its age is lower."""
        still = self._still(key, mark)
        is_old = age is None or age >= self._limit
        lasts = (key in self._lasting and is_old) or (
            still >= self._limit / 3 and max(still, age or 0.0) >= self._limit
        )
        (self._lasting.add if lasts else self._lasting.discard)(key)
        return lasts

    def _report(self, found: list[Part]) -> None:
        now = self._clock()
        self.parts = tuple(found)
        for part in found:
            key = (part.kind, part.name)
            if part.state in (SILENT, DEAF) and now - self._told.get(key, -AGAIN_SECONDS) >= AGAIN_SECONDS:
                self._told[key] = now
                message, advice = "%s has been silent for %d s: %s", ADVICE[part.kind, part.state]
                seconds = self._limit if part.seconds is None else part.seconds
                logger.error(message, _called(*key), seconds, advice, extra={"event": f"{part.kind}.{part.state}"})
            elif part.state == HEARD and self._told.pop(key, None) is not None:
                logger.warning("%s is heard again", _called(*key), extra={"event": f"{part.kind}.{HEARD}"})
        for key in self._told.keys() - {(part.kind, part.name) for part in found}:
            del self._told[key]
            logger.warning("%s is not expected any more", _called(*key), extra={"event": f"{key[0]}.forgotten"})


def _called(kind: str, name: str) -> str:
    return {"beat": name, "broker": "the broker", "database": "the database"}.get(kind, f"the {kind} {name}")
