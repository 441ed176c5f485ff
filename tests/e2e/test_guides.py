"""Run the commands of README.md and docs/ as a reader would type them, on a separate stack.

The guides move the stack's clock, so later tests of this module run on a stack that is days ahead.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpac.stack.state_folder import ROOT
from tests.polling import HANGS_AFTER_SECONDS

PYTHON = shlex.quote(sys.executable)
MPAC = f"{PYTHON} -m mpac"
SHORTER = {"MPAC_SANDBOX_TIMEOUT_SECONDS": "2"}  # a reader waits ten seconds for a provider that does not answer
NOTHING_IS_PROCESSED = """until api "/payments?status=processing" | grep -q '"data":\\[\\]'; do sleep 0.2; done"""
STARTS_AND_STOPS = re.compile(r"^python3 run\.py (up|down)\b.*$", re.MULTILINE)


def blocks(name: str, *, language: str, after: str, before: str = "\n## ") -> str:
    """Return the code blocks in ``language`` between ``after`` and ``before`` in a document, concatenated."""
    section = (ROOT / name).read_text().partition(after)[2].partition(before)[0]
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start and seed a stack, and yield the environment variables with which the guides' commands are run."""
    own = {"MPAC_HOME": str(tmp_path_factory.mktemp("guides") / "home"), **SHORTER}
    found = {**os.environ, **own}
    try:
        run(f"{MPAC} up --ports free --detach && {MPAC} seed", found)
        yield found
    finally:
        run(f"{MPAC} down", found)


def run(script: str, variables: dict[str, str], *, cwd: Path = ROOT) -> str:
    """Run a script as a reader's shell would, stopping at the first command that fails; return its output."""
    words = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        words,
        env={**variables, "PYTHONPATH": str(ROOT)},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def clocks(variables: dict[str, str]) -> dict[str, Any]:
    """Return the times of the stack's clocks."""
    found: dict[str, Any] = json.loads(run(f"{MPAC} clock --json", variables))
    return found


def as_typed(script: str) -> str:
    """Put the definitions of README.md (``api`` and ``TOKEN``) before ``script``."""
    return f"""
        API=$({MPAC} status --json | {PYTHON} -c 'import json, sys; print(json.load(sys.stdin)["api_url"])')/api/v1
        TOKEN=$({MPAC} token --role staff)
        api() {{ curl -s -w '\\n' "$API$1" -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" "${{@:2}}"; }}
        pay() {{ api /payments -H "Idempotency-Key: $(date +%s%N)" -d "$1"; }}
        {script}
    """


def test_the_guide_to_the_sandbox_leaves_both_clocks_at_the_same_time(variables: dict[str, str]) -> None:
    said = run(blocks("docs/sandbox.md", language="bash", after="# ").replace("python3 run.py", MPAC), variables)
    assert '"kind":"charge"' in said
    assert "Moved by 1 day." in said
    times = clocks(variables)
    assert times["provider_ahead_seconds"] == times["ahead_seconds"] >= 86_400


def test_the_day_of_the_reconciliation_guide_is_closed_by_the_clock_and_signed_off(
    variables: dict[str, str], tmp_path: Path
) -> None:
    # The day begins without sales. A payment of another guide whose success was noticed late would be the seventh line.
    run(as_typed(NOTHING_IS_PROCESSED), variables)
    run(f"{MPAC} clock --to-next-close", variables)
    sold = run(
        as_typed("""pay '{"amount": 800, "method": {"type": "cash"}}'"""), variables
    )  # the same payment as the first sale in README.md
    assert '"status":"pending"' in sold
    script = blocks("docs/reconciliation.md", language="bash", after="## Try it").replace("python3 run.py", MPAC)
    said = run(script, variables, cwd=tmp_path)
    settlements = re.findall(r"stl_\w+  (.*)", said)
    assert [line for line in settlements if re.fullmatch(r"closed: .*, 6 lines", line)], settlements
    assert '"error"' not in said
    assert '"open_breaks":3' in said
    assert '"status": "reconciled"' in said
    assert "<html" in (tmp_path / "day.html").read_text()


def test_each_payment_is_charged_once_when_the_clock_is_moved_while_payments_are_processed(
    variables: dict[str, str],
) -> None:
    under_way = """
        FATES="slow:1500 timeout_after_charge reset_after_charge unavailable:1 error_500_before_charge pending:3000"
        for ROUND in 1 2; do
            for FATE in $FATES; do
                pay '{"amount": 1'$ROUND'00, "method": {"type": "qr", "mode": "cpm"}, "metadata": {"sandbox": "'$FATE'"}}'
            done
            MPAC clock +1h
        done
        MPAC clock +1d
        MPAC invariants
    """
    said = run(as_typed(under_way.replace("MPAC", MPAC)), variables)
    assert "Moved by 1 day." in said
    assert "No rule is broken" in said, said


def test_the_commands_of_the_readme_work_as_typed(variables: dict[str, str]) -> None:
    script = blocks("README.md", language="bash", after="## Try it by hand")
    said = run(STARTS_AND_STOPS.sub("", script).replace("python3 run.py", MPAC), variables)
    assert '"status":"pending"' in said
    assert '"event": "doubt"' in said
    assert '"status":"completed"' in said
    assert '"details":[{"field":"amount","issue":"Must be greater than 0"}]' in said
    assert "No rule is broken" in said


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


def test_moving_the_clock_wakes_a_waiting_terminal_and_brings_an_unknown_outcome_into_review(
    variables: dict[str, str], tmp_path: Path
) -> None:
    script = """
        id() { PYTHON -c 'import json, sys; print(json.load(sys.stdin)["id"])'; }
        FATE=error_500_before_charge,inquiry_unavailable:604800000
        DOUBT=$(pay '{"amount": 900, "method": {"type": "qr", "mode": "cpm"}, "metadata": {"sandbox": "'$FATE'"}}' | id)
        CODE=$(pay '{"amount": 700, "method": {"type": "qr", "mode": "mpm"}}' | id)
        until api "/payments/$DOUBT" | grep -q '"outcome_known":false'; do sleep 0.2; done
        until api "/payments/$CODE" | grep -q '"display_qr"'; do sleep 0.2; done
        api "/payments/$CODE?wait=25&since_version=3" > waited & WAITS=$!
        MPAC clock +23h
        wait $WAITS
        cat waited
        api "/payments/$DOUBT"
        MPAC clock +2h
        api "/payments/$DOUBT"
    """
    script = script.replace("PYTHON", PYTHON).replace("MPAC", MPAC)
    said = run(as_typed(script), variables, cwd=tmp_path)
    waited, hours, day = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert (waited["status"], waited["cancel_reason"] in ("expired", "withdrawn_by_provider")) == ("cancelled", True)
    assert (hours["status"], hours["outcome_known"], hours["needs_review"]) == ("processing", False, False)
    assert (day["status"], day["outcome_known"], day["needs_review"]) == ("processing", False, True)
    assert re.search(r"pay_\w+  processing, in doubt → processing, in doubt, needs review", said)
