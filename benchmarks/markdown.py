"""Print the goals of a results file as Markdown: ``python -m benchmarks.markdown results.json``."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.goals import Verdict
from benchmarks.results import measured_text


def lines(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield where and how it was measured, and a row for each goal of each measured row."""
    machine = results["machine"]
    changed = ", with uncommitted changes" if results["is_changed"] else ""
    yield (
        f"`{results['command']}` at commit {results['commit']}{changed}, {results['started_at'][:10]}, on "
        f"{machine['processors']} CPUs ({machine['processor']}, {machine['memory_gb']:g} GB) that ran everything."
    )
    yield ""
    yield "| row | goal | measured | | CPUs of others | CPUs of the client |"
    yield "|---|---|---|---|---|---|"
    for name, row in results["rows"].items():
        for goal in row["goals"]:
            verdict = Verdict(**goal)
            value = f"**{measured_text(verdict)}**" if verdict.is_met else measured_text(verdict)
            shares = f"{row['others_cpus']:.2f} | {row['client_cpus']:.2f}"
            yield f"| `{name}` | {verdict.what} | {value} | {verdict.sentence} | {shares} |"


def main() -> None:
    """Read a results file and print."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.markdown RESULTS.json")
    for line in lines(json.loads(Path(sys.argv[1]).read_text())):
        print(line)


if __name__ == "__main__":
    main()
