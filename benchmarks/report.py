"""Turn the figures of all rounds into a table of medians, and of ratios to the first target."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.goals import Figures, figure_at

Rounds = dict[str, list[Figures]]

RATE = "payments/s, created → completed"
OWN = "CPU ms per payment, its own processes without the sandbox"

ROWS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (RATE, ("closed", "per_second"), "{:,.0f}"),
    (OWN, ("closed", "processor_ms", "without the sandbox"), "{:.3f}"),
    ("CPU ms per payment, the sandbox", ("closed", "processor_ms", "sandbox"), "{:.3f}"),
    ("CPU ms per payment, with sandbox and client", ("closed", "processor_ms", "with the client"), "{:.3f}"),
    ("steady: payments/s completed", ("steady", "per_second"), "{:,.0f}"),
    ("steady: POST P50, ms", ("steady", "post_ms", "p50"), "{:,.1f}"),
    ("steady: POST P95, ms", ("steady", "post_ms", "p95"), "{:,.1f}"),
    ("steady: POST P99, ms", ("steady", "post_ms", "p99"), "{:,.1f}"),
    ("steady: 201 → final P50, ms", ("steady", "final_ms", "p50"), "{:,.1f}"),
    ("steady: 201 → final P95, ms", ("steady", "final_ms", "p95"), "{:,.1f}"),
    ("steady: 201 → final P99, ms", ("steady", "final_ms", "p99"), "{:,.1f}"),
    ("steady: CPU ms per payment without the sandbox", ("steady", "processor_ms", "without the sandbox"), "{:.3f}"),
    ("at rest: POST P50, ms", ("rest", "post_ms", "p50"), "{:,.1f}"),
    ("at rest: POST P99, ms", ("rest", "post_ms", "p99"), "{:,.1f}"),
    ("at rest: 201 → final P50, ms", ("rest", "final_ms", "p50"), "{:,.1f}"),
    ("at rest: 201 → final P99, ms", ("rest", "final_ms", "p99"), "{:,.1f}"),
    ("CPUs used by the client", ("closed", "share of client"), "{:.2f}"),
    ("CPUs used by other processes", ("closed", "share of others"), "{:.2f}"),
)


def median(rounds: list[Figures], path: tuple[str, ...]) -> float | None:
    """Return the median over the rounds of the figure at ``path``; ``None`` if a round lacks it."""
    values = [figure_at(figures, path) for figures in rounds]
    return statistics.median(values) if values and None not in values else None


def medians_of(rounds: Sequence[Any]) -> Any:
    """Return nested figures of the same shape as each round, with the median of every number.

    A key that a round lacks is left out. Lists and texts are left out too.
    """
    if all(isinstance(each, Mapping) for each in rounds):
        shared = [key for key in rounds[0] if all(key in each for each in rounds)]
        found = {key: medians_of([each[key] for each in rounds]) for key in shared}
        return {key: value for key, value in found.items() if value is not None}
    is_number = all(isinstance(each, int | float) and not isinstance(each, bool) for each in rounds)
    return statistics.median(rounds) if is_number else None


def summary(rounds: Rounds) -> dict[str, dict[str, Any]]:
    """Return the rows of the table: medians by target, and the ratios of the first target to the others."""
    table: dict[str, dict[str, Any]] = {}
    for title, path, _ in ROWS:
        medians = {name: median(figures, path) for name, figures in rounds.items()}
        table[title] = {**medians, "ratios": _ratios(medians)}
    return table


def by_process(rounds: Rounds, name: str) -> dict[str, float]:
    """Return the CPU milliseconds per payment of target ``name`` under full load, by process."""
    first = rounds[name][0]["closed"]["processor_ms"]["by process"]
    return {p: median(rounds[name], ("closed", "processor_ms", "by process", p)) or 0.0 for p in first}


def show(rounds: Rounds, console: Console) -> None:
    """Print the medians of the rounds by target, and the CPU time per payment of each target's processes."""
    first, *others = rounds
    table = Table("median of the rounds", first, *others, *(f"{first} ÷ {name}" for name in others), box=None)
    formats = {title: spelling for title, _, spelling in ROWS}
    for title, values in summary(rounds).items():
        cells = ["–" if values[name] is None else formats[title].format(values[name]) for name in rounds]
        ratios = [values["ratios"].get(name) for name in others]
        table.add_row(title, *cells, *("–" if ratio is None else f"{ratio:.2f}" for ratio in ratios))
    console.print(table)
    for name in rounds:
        console.print(f"{name}, CPU ms per payment: {spelled(by_process(rounds, name))}")


def spelled(spent: Mapping[str, float]) -> str:
    """Return CPU milliseconds by process as text, the largest first."""
    return ", ".join(f"{process} {ms:.3f}" for process, ms in sorted(spent.items(), key=lambda each: -each[1]))


def line(number: int, name: str, figures: Figures, seconds: float) -> str:
    """Return one line about a round of a target, printed when it ends."""
    closed, rest = figures["closed"], figures["rest"]
    spent = closed["processor_ms"]
    return (
        f"round {number + 1}, {name}: {closed['per_second']:,.0f} payments/s, "
        f"{spent['without the sandbox']:.2f} ms of CPU time each (sandbox {spent['sandbox']:.2f}); at rest POST "
        f"{rest['post_ms'].get('p99', 0):.1f} ms, final {rest['final_ms'].get('p99', 0):.1f} ms (P99); "
        f"other processes used {closed['share of others']:.2f} CPUs; {seconds:.0f} s"
    )


def _ratios(medians: Mapping[str, float | None]) -> dict[str, float]:
    first, *others = medians.values()
    names = list(medians)[1:]
    return {name: first / other for name, other in zip(names, others, strict=True) if first is not None and other}
