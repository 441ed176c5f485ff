"""Turn the figures of all rounds into a table of medians and ratios."""

import statistics
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Figures

Rounds = dict[str, list[Figures]]

ROWS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("payments/s, created → completed", ("closed", "per_second"), "{:,.0f}"),
    ("processor ms per payment, its own processes", ("closed", "processor_ms", "all of its own"), "{:.3f}"),
    ("processor ms per payment, with the client", ("closed", "processor_ms", "with the client"), "{:.3f}"),
    ("steady: payments/s completed", ("steady", "per_second"), "{:,.0f}"),
    ("steady: POST P50, ms", ("steady", "post_ms", "p50"), "{:,.1f}"),
    ("steady: POST P95, ms", ("steady", "post_ms", "p95"), "{:,.1f}"),
    ("steady: POST P99, ms", ("steady", "post_ms", "p99"), "{:,.1f}"),
    ("steady: 201 → final P50, ms", ("steady", "final_ms", "p50"), "{:,.1f}"),
    ("steady: 201 → final P95, ms", ("steady", "final_ms", "p95"), "{:,.1f}"),
    ("steady: 201 → final P99, ms", ("steady", "final_ms", "p99"), "{:,.1f}"),
    ("steady: processor ms per payment", ("steady", "processor_ms", "all of its own"), "{:.3f}"),
    ("at rest: POST P50, ms", ("rest", "post_ms", "p50"), "{:,.1f}"),
    ("at rest: POST P99, ms", ("rest", "post_ms", "p99"), "{:,.1f}"),
    ("at rest: 201 → final P50, ms", ("rest", "final_ms", "p50"), "{:,.1f}"),
    ("at rest: 201 → final P99, ms", ("rest", "final_ms", "p99"), "{:,.1f}"),
    ("others' share of the machine, processors", ("closed", "share of others"), "{:.2f}"),
)


def median(rounds: list[Figures], path: tuple[str, ...]) -> float | None:
    """Return the median over the rounds of the figure at ``path``; ``None`` if a round lacks it."""
    values = [_at(figures, path) for figures in rounds]
    return statistics.median(values) if values and None not in values else None


def summary(rounds: Rounds) -> dict[str, dict[str, float | None]]:
    """Return the rows of the table: medians by target, and the ratio of the first target to the last."""
    table: dict[str, dict[str, float | None]] = {}
    for title, path, _ in ROWS:
        medians = {name: median(figures, path) for name, figures in rounds.items()}
        table[title] = {**medians, "ratio": _ratio(list(medians.values()))}
    return table


def by_process(rounds: Rounds, name: str) -> dict[str, float]:
    """Return the CPU milliseconds per payment of target ``name`` under full load, by process."""
    first = rounds[name][0]["closed"]["processor_ms"]["by process"]
    return {p: median(rounds[name], ("closed", "processor_ms", "by process", p)) or 0.0 for p in first}


def show(rounds: Rounds, console: Console) -> None:
    """Print the medians of the rounds by target, and the CPU time per payment of each target's processes."""
    names = list(rounds)
    table = Table("median of the rounds", *names, f"{names[0]} / {names[-1]}" if len(names) > 1 else "", box=None)
    formats = {title: spelling for title, _, spelling in ROWS}
    for title, values in summary(rounds).items():
        cells = ["–" if values[name] is None else formats[title].format(values[name]) for name in names]
        table.add_row(title, *cells, "–" if values["ratio"] is None else f"{values['ratio']:.2f}")
    console.print(table)
    for name in names:
        spent = by_process(rounds, name)
        parts = ", ".join(f"{process} {ms:.3f}" for process, ms in sorted(spent.items(), key=lambda item: -item[1]))
        console.print(f"{name}, processor ms per payment: {parts}")


def _ratio(values: list[float | None]) -> float | None:
    if len(values) < 2 or values[0] is None or not values[-1]:
        return None
    return values[0] / values[-1]


def _at(figures: Figures, path: tuple[str, ...]) -> Any:
    value: Any = figures
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
