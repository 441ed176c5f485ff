"""The service tells which parts are silent, from their rows and its own clocks, and blames no other part."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from api.schemas.health import KINDS
from mpac.cli.commands.worker import ALL_QUEUES
from workers import silence_monitor
from workflows.ops.liveness import BEAT, Heartbeat, QueueAges
from workflows.ops.silence_rules import AGAIN_SECONDS, DEAF, HEARD, SILENT, UNKNOWN, Observation, SilenceTracker

LIMIT = 60.0
STEP = 5.0
CANARY = 15.0
OTHER_QUEUES = ("refunds", "settlements", "webhooks", "sweeps")


class World:
    """Two workers, beat and the broker, as the rows they write. ``now`` is the database's clock, ``steady`` this process's."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.steady = 0.0
        self.sent = dict.fromkeys(silence_monitor.QUEUES, self.now)
        self.consumed: dict[str, float | None] = dict.fromkeys(silence_monitor.QUEUES, self.now)
        self.beat = self.now
        self.workers = {"payments@a": [self.now, self.now], "other@a": [self.now, self.now]}
        self.broken: set[str] = set()
        self.broker_took = 0.0
        self.silences = SilenceTracker(silence_monitor.QUEUES, limit=LIMIT, clock=lambda: self.steady)

    def consumers(self, queue: str) -> list[str]:
        return ["payments@a"] if queue == "payments" else ["other@a"]

    def passes(self, seconds: float) -> None:
        """Advance both clocks in steps.

        At each step the living parts write their rows and this process reads them.
        """
        for _ in range(int(seconds / STEP)):
            self.now += STEP
            self.steady += STEP
            self.write()
            self.look()

    def write(self) -> None:
        if "broker" not in self.broken:
            self.broker_took = self.steady
        for queue in silence_monitor.QUEUES:
            if self.is_answered(queue):
                self.sent[queue], self.consumed[queue] = self.now, None
            if all(self.consumes(worker) for worker in self.consumers(queue)):
                self.consumed[queue] = self.now
        if self.consumes("other@a") and "beat" not in self.broken:
            self.beat = self.now
        for name, times in self.workers.items():
            times[0] = self.now if f"gone {name}" not in self.broken else times[0]
            times[1] = self.now if self.consumes(name) else times[1]

    def consumes(self, worker: str) -> bool:
        return not self.broken & {"broker", f"gone {worker}", f"deaf {worker}"}

    def is_answered(self, queue: str) -> bool:
        return (self.consumed[queue] or 0) >= self.sent[queue]

    def look(self) -> None:
        ages = {
            queue: QueueAges(
                str(self.sent[queue]),
                None if self.consumed[queue] is None else abs(self.now - (self.consumed[queue] or 0)),
                None if self.is_answered(queue) else abs(self.now - self.sent[queue]),
            )
            for queue in silence_monitor.QUEUES
        }
        ages[BEAT] = QueueAges(str(self.beat), abs(self.now - self.beat), None)
        beats = [
            Heartbeat(name, (str(seen), str(heard)), abs(self.now - seen), abs(self.now - heard))
            for name, (seen, heard) in self.workers.items()
        ]
        self.silences.update(Observation(ages, beats, self.steady - self.broker_took))

    @property
    def faults(self) -> dict[str, str]:
        # /health/ready publishes these kinds, so its schema has to list each.
        assert {part.kind for part in self.silences.components if part.state != HEARD} <= set(KINDS)
        return {part.name: part.state for part in self.silences.components if part.state != HEARD}


def all_queues(state: str) -> dict[str, str]:
    return dict.fromkeys(silence_monitor.QUEUES, state)


FAULTS = {
    ("gone other@a",): {**dict.fromkeys(OTHER_QUEUES, SILENT), "other@a": SILENT, BEAT: UNKNOWN},
    ("deaf other@a",): {**dict.fromkeys(OTHER_QUEUES, SILENT), "other@a": DEAF, BEAT: UNKNOWN},
    ("gone payments@a",): {"payments": SILENT, "payments@a": SILENT},
    ("deaf payments@a",): {"payments": SILENT, "payments@a": DEAF},
    ("gone payments@a", "gone other@a"): {
        **all_queues(SILENT),
        "payments@a": SILENT,
        "other@a": SILENT,
        BEAT: UNKNOWN,
    },
    ("beat",): {BEAT: SILENT},
    ("broker",): {"broker": SILENT, **all_queues(UNKNOWN), "payments@a": UNKNOWN, "other@a": UNKNOWN, BEAT: UNKNOWN},
}


@pytest.fixture
def world() -> World:
    made = World()
    made.passes(2 * LIMIT)
    assert made.faults == {}
    return made


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str]]]:
    """Return a function that returns the events logged since its last call, with their levels."""
    caplog.set_level(logging.INFO)

    def since() -> list[tuple[str, str]]:
        found = [(record.levelname, record.__dict__["event"]) for record in caplog.records]
        caplog.clear()
        return found

    return since


@pytest.mark.parametrize(("broken", "faults"), FAULTS.items(), ids="+".join)
def test_each_fault_is_attributed_to_the_faulty_part(
    world: World, logged: Callable[[], list[tuple[str, str]]], broken: tuple[str, ...], faults: dict[str, str]
) -> None:
    logged()
    world.broken |= set(broken)
    seen: list[dict[str, str]] = []
    for _ in range(int((LIMIT + CANARY) / STEP)):
        world.passes(STEP)
        seen.append(world.faults)
        assert not {name for name, state in world.faults.items() if state != faults.get(name) and state != UNKNOWN}
    assert world.faults == faults
    blamed = [state for state in faults.values() if state != UNKNOWN]
    began = logged()
    assert [level for level, _ in began] == ["ERROR"] * len(blamed)
    world.broken.clear()
    world.passes(4 * STEP)
    assert world.faults == {}
    ended = logged()
    assert len(ended) == len(began)
    assert {level for level, _ in ended} == {"WARNING"}


def test_a_silence_is_logged_shortly_after_the_limit_and_then_periodically(
    world: World, logged: Callable[[], list[tuple[str, str]]]
) -> None:
    world.broken = {"gone other@a"}
    logged()
    world.passes(LIMIT - STEP)
    assert logged() == []
    world.passes(2 * STEP)
    assert len(logged()) == len(OTHER_QUEUES) + 1
    world.passes(AGAIN_SECONDS - 3 * STEP)
    assert logged() == []
    world.passes(4 * STEP)
    assert len(logged()) == len(OTHER_QUEUES) + 1


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0, 45.0, -45.0])
def test_a_moved_database_clock_makes_no_part_silent(
    world: World, logged: Callable[[], list[tuple[str, str]]], jump: float
) -> None:
    world.now += jump
    world.look()  # before any part has written its row again
    assert world.faults == {}
    world.passes(LIMIT)
    assert world.faults == {}
    assert logged() == []


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0, -60.0])
def test_a_moved_database_clock_hides_no_silence(world: World, jump: float) -> None:
    world.broken = {"gone other@a", "deaf payments@a"}
    world.passes(LIMIT / 2)
    world.now += jump
    world.passes(LIMIT / 2 + STEP)
    expected = {**FAULTS["gone other@a",], **FAULTS["deaf payments@a",]}
    del expected[BEAT]  # unknown for as long as its silence has lasted
    assert expected.items() <= world.faults.items()
    world.now -= jump
    world.look()
    assert expected.items() <= world.faults.items()


def test_a_machine_that_slept_raises_no_alarm(world: World, logged: Callable[[], list[tuple[str, str]]]) -> None:
    world.now += 8 * 3_600  # the monotonic clock stopped during sleep
    world.look()
    world.passes(LIMIT)
    assert world.faults == {}
    world.steady += 8 * 3_600  # and on machines whose monotonic clock continues during sleep
    world.now += 8 * 3_600
    world.broker_took = world.steady
    world.look()
    world.passes(LIMIT)
    assert world.faults == {}
    assert logged() == []


def test_a_restarted_process_reports_parts_that_were_already_silent(world: World) -> None:
    world.broken = {"gone other@a"}
    world.passes(2 * LIMIT)
    world.silences = SilenceTracker(silence_monitor.QUEUES, limit=LIMIT, clock=lambda: world.steady)
    world.look()
    assert world.faults == {}
    world.passes(LIMIT / 2)
    assert world.faults == FAULTS["gone other@a",]


def test_an_unreachable_database_is_reported_alone_even_after_its_return(
    world: World, logged: Callable[[], list[tuple[str, str]]]
) -> None:
    for _ in range(20):
        world.now += STEP
        world.steady += STEP
        world.silences.note_database_silent()
    assert world.faults == {"database": SILENT} | {
        part.name: UNKNOWN for part in world.silences.components if part.kind != "database"
    }
    world.broker_took = world.steady  # canaries are sent before the rows are read
    world.look()
    world.passes(LIMIT)
    assert world.faults == {}
    assert logged() == [("ERROR", "database.silent"), ("WARNING", "database.heard")]


def test_a_worker_that_stopped_cleanly_is_not_reported_as_silent(
    world: World, logged: Callable[[], list[tuple[str, str]]]
) -> None:
    world.broken = {"gone payments@a"}
    world.passes(2 * LIMIT)
    del world.workers["payments@a"]
    logged()
    world.look()
    assert world.faults == {"payments": SILENT}
    assert logged() == [("WARNING", "worker.forgotten")]


def test_a_queue_without_canaries_is_unknown_and_with_unconsumed_canaries_silent() -> None:
    clock = [0.0]
    silences = SilenceTracker(("payments",), limit=LIMIT, clock=lambda: clock[0])

    def look(ages: dict[str, Any]) -> str:
        silences.update(Observation(ages, (), 0.0))
        return next(part.state for part in silences.components if part.kind == "queue")

    assert look({}) == UNKNOWN
    states = []
    for second in range(0, 80, 5):
        clock[0] = float(second)
        states.append(look({"payments": QueueAges("first", None, float(second))}))
    assert states == [HEARD] * 12 + [SILENT] * 4


def test_the_api_sends_canaries_through_every_queue_of_the_workers() -> None:
    assert list(silence_monitor.QUEUES) == ALL_QUEUES.split(",")
