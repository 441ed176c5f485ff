"""The guides, as typed: what README.md and docs/terminal.md tell a reader to do is done, on a stack of its own."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpac.stack.home import ROOT
from tests.waiting import HANGS_AFTER_SECONDS

MPAC = f"{shlex.quote(sys.executable)} -m mpac"
STARTS_AND_STOPS = re.compile(r"^python3 run\.py (up|down)\b.*$", re.MULTILINE)


def blocks(name: str, *, language: str, after: str, before: str = "\n## ") -> str:
    """The code blocks of one section, one after the other."""
    section = (ROOT / name).read_text().partition(after)[2].partition(before)[0]
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which a stack runs and is seeded."""
    found = {**os.environ, "MPAC_HOME": str(tmp_path_factory.mktemp("guides") / "home")}
    try:
        run(f"{MPAC} up --ports free --detach && {MPAC} seed", found)
        yield found
    finally:
        run(f"{MPAC} down", found)


def run(script: str, variables: dict[str, str]) -> str:
    """Run it as a reader's shell would, but stop at the first thing that fails; returns what it printed."""
    words = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        words, env=variables, cwd=ROOT, capture_output=True, text=True, check=False, timeout=HANGS_AFTER_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_can_be_followed_as_typed(variables: dict[str, str]) -> None:
    script = blocks("README.md", language="bash", after="## Try it by hand")
    said = run(STARTS_AND_STOPS.sub("", script).replace("python3 run.py", MPAC), variables)
    assert '"status":"pending"' in said
    assert '"event": "doubt"' in said
    assert '"status":"completed"' in said
    assert '"details":[{"field":"amount","issue":"Must be greater than 0"}]' in said
    assert re.search(r"All \d+ rules hold", said)


def test_the_terminal_of_the_guide_pays_and_finds_a_lost_answer(variables: dict[str, str], tmp_path: Path) -> None:
    example = tmp_path / "terminal.py"
    example.write_text(blocks("docs/terminal.md", language="python", after="## A terminal in Python"))
    script = blocks("docs/terminal.md", language="bash", after="## A terminal in Python")
    script = script.replace("python3 run.py up --detach && ", "").replace("python3 run.py", MPAC)
    script = script.replace(
        ".venv/bin/python terminal.py", f"{shlex.quote(sys.executable)} {shlex.quote(str(example))}"
    )
    said = run(script, variables).splitlines()
    assert said[1:] == [
        "cash completed change 1000",
        "  in doubt: do_not_charge_again",
        "lost answer completed",
        said[-2],
        "cancelled cancelled cancelled",
    ]
    assert said[-2].startswith("show ")
