"""`mpac test`: run every check that must pass before a commit."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import click

from mpac.cli.child_process import run_child
from mpac.cli.options import home_option
from mpac.stack.state_folder import ROOT

BIN = Path(sys.executable).parent  # programs alone: a script there names its Python in a line that not every path fits
PYTEST = (sys.executable, "-m", "pytest")

CHECKS: dict[str, tuple[str, ...]] = {  # the quick ones first
    "ruff check": (str(BIN / "ruff"), "check", "."),
    "ruff format": (str(BIN / "ruff"), "format", "--check", "."),
    "import-linter": (sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()"),
    "mypy": (sys.executable, "-m", "mypy"),
    "mpac docs": (sys.executable, "-m", "mpac", "docs", "--check"),
}
WITH_STACKS = ("tests/chaos", "tests/e2e")
NOT_LONG = ("-m", "not long")  # an -m of the user comes later and wins
PHASES: dict[str, tuple[str, ...]] = {
    # Four processes on two cores, because tests wait more than they compute. Each has a database server of its own. By module,
    # because tests of a module may share what is slow to start. In the order of collection: the unit tests come last and fill
    # what the others leave idle.
    "pytest in parallel": (
        *(f"--ignore={folder}" for folder in WITH_STACKS),
        *("-n", "4", "--dist", "loadscope", "--no-loadscope-reorder", *NOT_LONG),
    ),
    # Tests that start whole stacks and kill processes. They mostly wait for leases and restarts, so four stacks leave each
    # the CPU time that its deadlines count on; the tests above would not. By group, because the tests of a group share a stack
    # (`tests/stack_groups.py`).
    "pytest with stacks": (
        *WITH_STACKS,
        *("-n", "4", "--dist", "loadgroup", "--no-loadscope-reorder", *NOT_LONG),
    ),
}
# The tests start hundreds of processes. If the environment forbids to store byte code, each would compile the product.
STORE_BYTE_CODE = {"PYTHONDONTWRITEBYTECODE": ""}
COVERAGE_VARIABLE = "BRANCH_COVERAGE_FOLDER"  # of tests.branch_coverage
COVERAGE_HOOK = ROOT / "tests" / "coverage_hook"  # measures the processes that tests start
REPORT = "import pathlib, sys; from tests.branch_coverage import report; print(report(pathlib.Path(sys.argv[1])))"


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@home_option
def test(pytest_arguments: tuple[str, ...], home: Path) -> None:  # noqa: ARG001 - every command takes --home
    """Run the linters, the type checker and the whole test suite.

    With PYTEST_ARGUMENTS only pytest runs, with these arguments: `python3 run.py test tests/unit -k money`. Tests that are
    marked `long` run only with `-m long`. The tests start their own servers and do not touch the local stack.
    """
    if pytest_arguments:
        sys.exit(run_child([*PYTEST, *NOT_LONG, *pytest_arguments], cwd=ROOT, environment=STORE_BYTE_CODE))
    failed = [name for name, command in CHECKS.items() if not _passes(name, command)]
    started, results = time.monotonic(), Results()
    with TemporaryDirectory() as folder:
        for name, arguments in PHASES.items():
            click.echo(f"{name} …")
            report = Path(folder) / "results.xml"
            if _run_tests(arguments, report=report, coverage=Path(folder)):
                failed.append(name)
            results.add(report)
        _show_coverage(Path(folder))
    if failed:
        click.echo("\n".join(results.failures))
        click.echo(f"Of {len(CHECKS) + len(PHASES)} steps these failed: {', '.join(failed)}.")
    click.echo(results.summary(time.monotonic() - started))  # the last line, as pytest would write it
    sys.exit(1 if failed else 0)


def _passes(name: str, command: Sequence[str]) -> bool:
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    passed = done.returncode == 0
    click.echo(f"{name:<14} {'passed' if passed else 'FAILED'}  {time.monotonic() - started:5.1f} s")
    if not passed:
        click.echo(done.stdout + done.stderr)
    return passed


def _run_tests(arguments: Sequence[str], *, report: Path, coverage: Path) -> int:
    """Run one phase of the suite; return pytest's exit code."""
    report.unlink(missing_ok=True)
    path = os.pathsep.join(filter(None, (str(COVERAGE_HOOK), os.environ.get("PYTHONPATH"))))
    command = [*PYTEST, *arguments, f"--junitxml={report}", "-o", "junit_family=xunit1"]
    variables = {COVERAGE_VARIABLE: str(coverage), "PYTHONPATH": path, **STORE_BYTE_CODE}
    return run_child(command, cwd=ROOT, environment=variables)


def _show_coverage(folder: Path) -> None:
    """Show the lines and branches of `workflows` that no process of the suite has run."""
    command = [sys.executable, "-c", REPORT, str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    click.echo(
        f"Lines and branches (from → to) of workflows that no test ran:\n{(done.stdout or done.stderr).rstrip()}"
    )


@dataclass
class Results:
    """The results of several runs of pytest."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, report: Path) -> None:
        """Add the results in a JUnit file. A run that was ended before it could write one adds nothing."""
        if not report.exists():
            return
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - written by our own child
            outcomes = {part.tag for part in case} & {"failure", "error", "skipped"}
            outcome = (
                {"failure": "failed", "error": "errors", "skipped": "skipped"}[min(outcomes)] if outcomes else "passed"
            )
            self.counts[outcome] += 1
            if outcome in ("failed", "errors"):
                self.failures.append(f"FAILED {case.get('file')}::{case.get('name')}")

    def summary(self, seconds: float) -> str:
        """Return one line that says how many tests had each outcome."""
        found = [
            f"{self.counts[name]} {name}" for name in ("failed", "passed", "skipped", "errors") if self.counts[name]
        ]
        return f"{', '.join(found) or 'no tests ran'} in {seconds:.2f}s ({seconds // 60:.0f}:{seconds % 60:02.0f})"
