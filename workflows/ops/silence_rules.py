"""Silence rules: decide which queues, workers, beat, broker or database are silent, and log each silence once.

| component | state       | when                                                                                  |
|-----------|-------------|---------------------------------------------------------------------------------------|
| queue     | ``silent``  | a canary was sent through it, and none was consumed within the limit                  |
| worker    | ``silent``  | it wrote nothing within the limit                                                     |
|           | ``deaf``    | it writes, but consumed no message within the limit                                   |
| beat      | ``silent``  | no sweep came within the limit, although the queue ``sweeps`` is consumed             |
|           | ``unknown`` | no sweep came within the limit, and no worker would have consumed it                  |
| broker    | ``silent``  | it has accepted no canary from this process for a third of the limit                  |
| database  | ``silent``  | it has not answered this process for a third of the limit                             |

While the broker is silent, the state of queues and the deafness of workers are ``unknown``. While the database is silent,
the state of everything else is ``unknown``.

A queue through which no canary was sent is not silent, so a sender that died does not make other components look silent.

Ages are measured by the database's clock, which may be moved, and the machine may sleep for a night. Each component therefore
also has a mark that changes whenever it is heard. A silence counts only if this process has seen the same mark for a third of
the limit on its monotonic clock: every running component changes its mark within that time.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from workflows.ops.liveness import BEAT, Heartbeat, QueueAges

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 300.0
"""The interval at which a continuing silence is logged again."""

SWEEPS = "sweeps"
"""The queue of beat's messages. The workers that consume it record when beat was heard."""

HEARD, SILENT, DEAF, UNKNOWN = "heard", "silent", "deaf", "unknown"

ADVICE = {
    ("queue", SILENT): "no worker consumes it; check the workers of this queue",
    ("worker", SILENT): "it is dead, frozen or cut off from the database; check its process and its log",
    ("worker", DEAF): "it runs but consumes no message; check its connection to the broker, then restart it",
    ("beat", SILENT): "no sweep arrives although the queue is consumed; check beat and its connection to the broker",
    ("broker", SILENT): "it takes no message from this API process; payments are stored and processed later",
    ("database", SILENT): "it does not answer this API process, which refuses payments with 503",
}
"""What each state of a kind of component means, and what an operator should check."""


class Component(NamedTuple):
    """The state of a queue, a worker, beat, the broker or the database.

    ``seconds`` is the time since it was last heard from, ``None`` if it never was.
    """

    kind: str
    name: str
    state: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Observation:
    """The input of ``SilenceTracker.update``.

    ``ages`` are the canary ages by queue, ``workers`` the workers' heartbeats, and ``broker_silent`` the seconds since the
    broker last accepted a canary.
    """

    ages: Mapping[str, QueueAges]
    workers: Iterable[Heartbeat]
    broker_silent: float


class SilenceTracker:
    """The state of every component, tracked across updates.

    ``components`` is the result of the last update. ``limit`` is the silence, in seconds, from which a component is silent.
    """

    def __init__(self, queues: Iterable[str], *, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._queues = tuple(queues)
        self._limit = limit
        self._clock = clock
        self._updated_at = self._database_answered_at = clock()
        self._marks: dict[tuple[str, ...], tuple[str, float]] = {}
        self._silent: set[tuple[str, ...]] = set()
        self._logged_at: dict[tuple[str, str], float] = {}
        self.components: tuple[Component, ...] = ()

    def update(self, observation: Observation) -> None:
        """Decide the state of every component, and log silences that begin, continue or end."""
        now = self._clock()
        if now - self._updated_at > self._limit / 3:
            self._marks.clear()  # this process hung or its database did not answer: the old marks prove no silence
        self._updated_at = self._database_answered_at = now
        broker_is_silent = observation.broker_silent >= self._limit / 3
        found = [
            Component("database", "database", HEARD, 0),
            Component("broker", "broker", SILENT if broker_is_silent else HEARD, observation.broker_silent),
            *(self._queue(name, observation.ages.get(name), is_unknown=broker_is_silent) for name in self._queues),
            self._beat(observation, is_unknown=broker_is_silent),
            *(self._worker(heartbeat, is_unknown=broker_is_silent) for heartbeat in observation.workers),
        ]
        self._report(found)

    def note_database_silent(self) -> None:
        """Record that the database did not answer, so that the state of everything else is unknown."""
        silent = self._clock() - self._database_answered_at
        if silent >= self._limit / 3:
            others = [
                component._replace(state=UNKNOWN) for component in self.components if component.kind != "database"
            ]
            self._report([Component("database", "database", SILENT, silent), *others])

    def _queue(self, name: str, ages: QueueAges | None, *, is_unknown: bool) -> Component:
        key, answered = ("queue", name), ("answered", name)
        if ages is None:
            return Component(*key, UNKNOWN, None)
        if ages.unanswered is None or is_unknown:
            self._marks[answered] = ("", self._clock())
        if ages.unanswered is None:
            self._seconds_unchanged(key, ages.mark)
            is_old = is_unknown and (ages.consumed or 0.0) >= self._limit
            return Component(*key, UNKNOWN if is_old else HEARD, ages.consumed)
        seconds = max(ages.unanswered, self._seconds_unchanged(answered, ""))
        return Component(*key, self._state(key, ages.mark, seconds, SILENT, is_unknown=is_unknown), seconds)

    def _beat(self, observation: Observation, *, is_unknown: bool) -> Component:
        beat, sweeps = observation.ages.get(BEAT), observation.ages.get(SWEEPS)
        seconds, mark = (beat.consumed, beat.mark) if beat else (None, "")
        is_unknown = is_unknown or sweeps is None or not self._is_consumed(sweeps)
        return Component(
            "beat", BEAT, self._state(("beat", BEAT), mark, seconds, SILENT, is_unknown=is_unknown), seconds
        )

    def _is_consumed(self, sweeps: QueueAges) -> bool:
        """Return whether the queue of beat's messages is consumed.

        This is so if a canary was consumed within half of the limit, that is, within two canary intervals.
        """
        if sweeps.unanswered is None:
            return self._seconds_unchanged(("queue", SWEEPS), sweeps.mark) < self._limit / 2
        answered = self._marks.get(("answered", SWEEPS))
        return answered is not None and self._clock() - answered[1] < self._limit / 2

    def _worker(self, heartbeat: Heartbeat, *, is_unknown: bool) -> Component:
        key, (seen_mark, heard_mark) = ("worker", heartbeat.worker), heartbeat.marks
        hears = self._state((*key, "heard"), heard_mark, heartbeat.heard, DEAF, is_unknown=is_unknown)
        if self._is_silent(key, seen_mark, heartbeat.seen):
            return Component(*key, SILENT, max(heartbeat.seen, self._seconds_unchanged(key, seen_mark)))
        # A worker that has missed its last heartbeats may soon count as silent. It is deaf only if it still writes them.
        is_writing = self._seconds_unchanged(key, seen_mark) < self._limit / 4
        if hears == DEAF and is_writing:
            return Component(
                *key, DEAF, max(heartbeat.heard or 0.0, self._seconds_unchanged((*key, "heard"), heard_mark))
            )
        return Component(*key, HEARD if hears == DEAF else hears, heartbeat.heard)

    def _state(self, key: tuple[str, ...], mark: str, age: float | None, bad: str, *, is_unknown: bool) -> str:
        """Return ``bad`` if the component is silent, else ``HEARD``.

        ``is_unknown`` says that the component cannot be heard now. Then the result is ``UNKNOWN`` once ``age`` has reached the
        limit. ``mark`` is the text of its last sign of life.
        """
        if is_unknown:
            # The time during which the component cannot be heard does not count as its silence.
            self._marks[key] = (mark, self._clock())
            return UNKNOWN if age is None or age >= self._limit else HEARD
        return bad if self._is_silent(key, mark, age) else HEARD

    def _seconds_unchanged(self, key: tuple[str, ...], mark: str) -> float:
        """Return for how many seconds this process has seen the same mark of a component."""
        if self._marks.get(key, (None,))[0] != mark:
            self._marks[key] = (mark, self._clock())
        return self._clock() - self._marks[key][1]

    def _is_silent(self, key: tuple[str, ...], mark: str, age: float | None) -> bool:
        """Return whether the component is silent. If so, it stays silent until ``age`` is below the limit."""
        still = self._seconds_unchanged(key, mark)
        is_old = age is None or age >= self._limit
        lasts = (key in self._silent and is_old) or (still >= self._limit / 3 and max(still, age or 0.0) >= self._limit)
        (self._silent.add if lasts else self._silent.discard)(key)
        return lasts

    def _report(self, found: list[Component]) -> None:
        now = self._clock()
        self.components = tuple(found)
        for component in found:
            key = (component.kind, component.name)
            if component.state in (SILENT, DEAF) and now - self._logged_at.get(key, -AGAIN_SECONDS) >= AGAIN_SECONDS:
                self._logged_at[key] = now
                message, advice = "%s has been silent for %d s: %s", ADVICE[component.kind, component.state]
                seconds = self._limit if component.seconds is None else component.seconds
                logger.error(
                    message, _describe(*key), seconds, advice, extra={"event": f"{component.kind}.{component.state}"}
                )
            elif component.state == HEARD and self._logged_at.pop(key, None) is not None:
                logger.warning("%s is heard again", _describe(*key), extra={"event": f"{component.kind}.{HEARD}"})
        for key in self._logged_at.keys() - {(component.kind, component.name) for component in found}:
            del self._logged_at[key]
            logger.warning("%s is not expected any more", _describe(*key), extra={"event": f"{key[0]}.forgotten"})


def _describe(kind: str, name: str) -> str:
    return {"beat": name, "broker": "the broker", "database": "the database"}.get(kind, f"the {kind} {name}")
