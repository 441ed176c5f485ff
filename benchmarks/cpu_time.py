"""Processor time by process, over exactly the seconds that are measured.

A server's own processes count as one: PostgreSQL's postmaster, the backends that live, and those that have ended
meanwhile (their time is kept by the postmaster as that of its dead children). The database session of the load
generator is its cost, not the contender's, and is taken out.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

CLIENT, CLIENT_SESSION = "client", "client's database session"
"""The load generator itself, and what its watching costs PostgreSQL: no terminal would do that."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds of processor since some beginning; two readings make a measurement."""

    by_process: Mapping[str, float]
    machine: float  # all that both the contender and everybody else on this machine used
    at: float  # when it was taken: on a busy machine taking it takes a while, which belongs to what is measured


class Meter:
    """Reads the clocks of a contender's processes."""

    def __init__(self, pids: Mapping[str, int], *, session_pid: int) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._session = psutil.Process(session_pid)
        self._client = psutil.Process()

    def read(self) -> Reading:
        """The clocks now. Raises ``psutil.NoSuchProcess`` where a process has died: the measurement would mean nothing."""
        session = _own(self._session)
        seconds = {name: _with_children(process) for name, process in self._processes.items()}
        if "postgres" in seconds:
            seconds["postgres"] -= session
        seconds |= {CLIENT: _own(self._client), CLIENT_SESSION: session}
        whole = psutil.cpu_times()
        machine = whole.user + whole.system + whole.nice + whole.irq + whole.softirq
        return Reading(seconds, machine, time.perf_counter())


def used(before: Reading, after: Reading) -> dict[str, float]:
    """Seconds of processor between two readings, by process, and those of strangers under ``others``."""
    spent = {name: max(0.0, seconds - before.by_process[name]) for name, seconds in after.by_process.items()}
    others = after.machine - before.machine - sum(spent.values())
    return {**spent, "others": max(0.0, others)}


def _own(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _with_children(process: psutil.Process) -> float:
    """Its own time, that of its living children, and that of those which have ended, which it has from the kernel."""
    while True:
        times = process.cpu_times()
        try:
            living = sum(_own(child) for child in process.children(recursive=True))
        except psutil.NoSuchProcess:  # a child ended just now: its time is its parent's from here on
            continue
        # One may have ended between the two looks, and would be missing in both.
        if _of_the_ended(process.cpu_times()) == _of_the_ended(times):
            return float(times.user + times.system) + _of_the_ended(times) + living


def _of_the_ended(times: Any) -> float:
    return float(times.children_user + times.children_system)
