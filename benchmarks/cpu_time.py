"""Measure the CPU time of each process, over exactly the measured seconds.

The processes of a server count as one: PostgreSQL's postmaster, its live backends, and the backends that have ended, whose
time the kernel adds to the postmaster's. The database session of the load generator is subtracted, because it is a cost of
the measurement.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

CLIENT, CLIENT_SESSION = "client", "client's database session"
"""The load generator itself, and what its polling costs PostgreSQL. A real terminal would cause neither."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds of CPU time since an arbitrary start. Two readings make a measurement."""

    by_process: Mapping[str, float]
    machine: float  # used by everything on this machine
    at: float  # when it was read: on a busy machine reading takes a while, which belongs to the measured window


class CpuMeter:
    """Read the CPU times of a target's processes."""

    def __init__(self, pids: Mapping[str, int], *, session_pid: int | None = None) -> None:
        """``session_pid`` is the load generator's own database session, if it has one."""
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._session = psutil.Process(session_pid) if session_pid else None
        self._client = psutil.Process()

    def read(self) -> Reading:
        """Return the current CPU times.

        Raises ``psutil.NoSuchProcess`` if a process has ended: the measurement is void.
        """
        session = _cpu_seconds(self._session) if self._session else 0.0
        seconds = {name: _with_children(process) for name, process in self._processes.items()}
        if "postgres" in seconds:
            seconds["postgres"] -= session
        seconds |= {CLIENT: _cpu_seconds(self._client), CLIENT_SESSION: session}
        whole = psutil.cpu_times()
        machine = whole.user + whole.system + whole.nice + whole.irq + whole.softirq
        return Reading(seconds, machine, time.perf_counter())


def cpu_seconds_between(before: Reading, after: Reading) -> dict[str, float]:
    """Return the CPU seconds between two readings, by process; other processes are under ``others``."""
    spent = {name: max(0.0, seconds - before.by_process[name]) for name, seconds in after.by_process.items()}
    others = after.machine - before.machine - sum(spent.values())
    return {**spent, "others": max(0.0, others)}


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _with_children(process: psutil.Process) -> float:
    """Return the CPU seconds of a process, its live children, and its ended children.

    The time of ended children is the kernel's total of the children that the process waited for.
    """
    while True:
        times = process.cpu_times()
        try:
            living = sum(_cpu_seconds(child) for child in process.children(recursive=True))
        except psutil.NoSuchProcess:  # a child has just ended: its time is its parent's from now on
            continue
        # A child may have ended between the two readings and would be missing in both.
        if _ended_children(process.cpu_times()) == _ended_children(times):
            return float(times.user + times.system) + _ended_children(times) + living


def _ended_children(times: Any) -> float:
    return float(times.children_user + times.children_system)
