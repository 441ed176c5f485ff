"""Draw the plots of ``docs/measurements.md`` from a results file: ``python -m benchmarks.plots results.json docs/images``.

| plot                | from       | shows                                                             |
|---------------------|------------|-------------------------------------------------------------------|
| `post-by-load.svg`  | `ordinary` | the P99 of a POST at each rate, of each target                    |
| `final-by-load.svg` | `ordinary` | the P99 until final, over the provider's time, likewise           |
| `cost-by-load.svg`  | `ordinary` | CPU milliseconds per payment at each rate, likewise               |
| `cost-by-rows.svg`  | `growth`   | CPU milliseconds per payment on a database with that many rows    |
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.chart import Chart, Points
from benchmarks.goals import figure_at

OWN = ("processor_ms", "without the sandbox")


def _by_load(figures: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Points]:
    """Return a line for each target: the figure at ``path`` at each rate that the target held."""
    lines: dict[str, Points] = {}
    for name, rates in figures["medians"].items():
        points = [(float(rate), figure_at(found, path)) for rate, found in rates.items()]
        lines[name] = [(rate, value) for rate, value in points if value is not None]
    return {name: points for name, points in lines.items() if points}


def _by_rows(figures: Mapping[str, Any]) -> dict[str, Points]:
    """Return a line for each process, and one for their sum."""
    sizes = figures["sizes"]
    names = [
        name for name in sizes[0]["processor_ms"]["by process"] if name in ("api", "worker-payments-1", "postgres")
    ]
    parts = {name: [(each["rows"], each["processor_ms"]["by process"][name]) for each in sizes] for name in names}
    return {"all without the sandbox": [(each["rows"], figure_at(each, OWN)) for each in sizes], **parts}


RATE = "payments/s, at fixed times"
PLOTS: dict[str, tuple[str, Callable[[Mapping[str, Any]], Chart]]] = {
    "post-by-load": (
        "ordinary",
        lambda found: Chart("POST, P99", RATE, "ms", _by_load(found, ("post_ms", "p99")), is_log=True),
    ),
    "final-by-load": (
        "ordinary",
        lambda found: Chart(
            "201 → final over the provider's time, P99",
            RATE,
            "ms",
            _by_load(found, ("after_provider_ms", "p99")),
            is_log=True,
        ),
    ),
    "cost-by-load": (
        "ordinary",
        lambda found: Chart("CPU time per payment without the sandbox", RATE, "ms", _by_load(found, OWN), is_log=True),
    ),
    "cost-by-rows": (
        "growth",
        lambda found: Chart("CPU time per payment under full load", "payments in the database", "ms", _by_rows(found)),
    ),
}
"""Name of the plot → the row that it needs, and the function that makes the chart of that row's figures."""


def draw(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the plots for which there are figures, and return their files."""
    written = []
    for name, (row, make) in PLOTS.items():
        if row in results["rows"]:
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{name}.svg"
            file.write_text(make(results["rows"][row]["figures"]).as_svg())
            written.append(file)
    return written


def main() -> None:
    """Read a results file, draw, and print the names of the files."""
    try:
        _, results, folder = sys.argv
    except ValueError:
        sys.exit("usage: python -m benchmarks.plots RESULTS.json FOLDER")
    for file in draw(json.loads(Path(results).read_text()), Path(folder)):
        print(file)


if __name__ == "__main__":
    main()
