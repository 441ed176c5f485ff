"""The plan of a benchmark: what is measured and for how long, the same for every target."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """The durations (in seconds), the rates (per second) and the load of a benchmark run."""

    rounds: int = 3
    in_flight: int = 512  # terminals, each with one payment in flight: the closed loop
    warm_up: float = 4.0  # for pools, prepared statements and the interpreter's caches to fill; not measured
    closed: float = 12.0
    steady_rate: float = 200.0
    steady: float = 15.0
    rest_rate: float = 5.0
    rest: float = 20.0
    latency_ms: int = 50  # of the sandbox provider


QUICK = Plan(rounds=1, in_flight=32, warm_up=0.6, closed=1.5, steady_rate=20.0, steady=1.5, rest_rate=5.0, rest=1.5)
"""A plan that shows that everything runs; its figures mean little."""
