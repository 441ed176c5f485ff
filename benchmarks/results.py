"""The JSON file of a benchmark: its schema is ``results.schema.json``, its plots are SVG files beside it.

Everything that a figure depends on is in the file: the machine, the commit, the command, the plan, and how busy the machine
was with other work.
"""

import json
import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.frame import Row, Run
from benchmarks.goals import Figures, Verdict, verdict
from mpac.stack.state_folder import ROOT

FOLDER = ROOT / "benchmarks" / "results"
BUSY = 0.1
"""CPUs. If other processes used more than this, the times of a run are those of a shared machine."""


def header(command: str) -> dict[str, Any]:
    """Return where, when, with which code and by which command a run is made."""
    return {
        "machine": {
            "processors": os.cpu_count(),
            "processor": _processor(),
            "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "load_average": os.getloadavg(),
        },
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "is_changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "command": command,
        "started_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }


def result_of(row: Row, plan: Any, run: Run, figures: Figures, *, seconds: float) -> dict[str, Any]:
    """Return the entry of one row."""
    return {
        "summary": row.summary,
        "plan": asdict(plan),
        "goals": [asdict(verdict(goal, figures)) for goal in row.goals],
        "others_cpus": max(run.share_of_others, default=0.0),
        "client_cpus": max(run.share_of_client, default=0.0),
        "audits": run.audits,
        "seconds": seconds,
        "figures": figures,
    }


def show_result(row: Row, run: Run, figures: Figures, console: Console) -> None:
    """Print the figures of a row, its goals, and what limits how far they can be trusted."""
    row.show(figures, console)
    if row.goals:
        table = Table("goal", "measured", "", box=None)
        for each in (verdict(goal, figures) for goal in row.goals):
            table.add_row(
                each.what, measured_text(each), each.sentence, style="" if each.is_met is not False else "red"
            )
        console.print(table)
    others = max(run.share_of_others, default=0.0)
    checks = sum(audit["checks"] for audit in run.audits)
    audited = f"The auditors made {checks:,} checks and found nothing." if run.audits else "Nothing was audited."
    console.print(
        f"{audited} Other processes used up to {others:.2f} CPUs"
        f"{': the times are those of a shared machine' if others > BUSY else ''}; the load generator used up to "
        f"{max(run.share_of_client, default=0.0):.2f}.",
        highlight=False,
    )


def write(content: dict[str, Any], path: Path) -> None:
    """Write the JSON file, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def measured_text(each: Verdict) -> str:
    """Return a measured value with its unit."""
    if each.value is None:
        return "–"
    is_long = each.value >= 100 or each.value == int(each.value)
    return f"{each.value:,.{0 if is_long else 2}f} {each.unit}".rstrip()


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
