"""Every row of the benchmark runs to its end in its quick form, and its file follows the schema. No speed is asserted."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from benchmarks.table_of_rows import ROWS
from mpac.stack.state_folder import ROOT
from tests.polling import HANGS_AFTER_SECONDS

SCHEMA = json.loads((ROOT / "benchmarks" / "results.schema.json").read_text())
UNMEASURED = {
    "ordinary": {"500/s", "100/s"},
}
"""Goals whose figures the quick form leaves out, by the first part of their names."""


async def run(*words: str) -> tuple[int, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MPAC_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", *words),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), HANGS_AFTER_SECONDS)
    return int(process.returncode or 0), said.decode()


@pytest.mark.parametrize("name", [name for name in ROWS if name != "payments"])  # test_bench.py is about that one
async def test_a_row_runs_and_measures_what_its_goals_are_about(name: str, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    code, said = await run(name, "--quick", "--results", str(file))
    assert code == 0, said
    found: dict[str, Any] = json.loads(file.read_text())
    jsonschema_rs.validate(SCHEMA, found)
    assert found["refused"] == {}
    row = found["rows"][name]
    assert sum(audit["checks"] for audit in row["audits"]) > 0
    missing = {goal["what"] for goal in row["goals"] if goal["value"] is None}
    assert {what.partition(":")[0] for what in missing} <= UNMEASURED.get(name, set())
    assert [goal["what"] for goal in row["goals"] if goal["what"] not in said] == []


async def test_a_row_whose_plan_lacks_a_setting_is_refused_before_anything_starts(tmp_path: Path) -> None:
    code, said = await run("tokens", "--set", "rates=[1]", "--results", str(tmp_path / "results.json"))
    assert code == 1
    assert "This plan has no rates: it has devices, seconds." in said
    assert not (tmp_path / "results.json").exists()
