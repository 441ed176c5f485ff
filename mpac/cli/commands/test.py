"""`mpac test`: what must hold before anything is committed, in one command."""

import subprocess
import sys
import time
from pathlib import Path

import click

from mpac.cli.child_process import run_child
from mpac.cli.options import home_option
from mpac.stack.home import ROOT

BIN = Path(sys.executable).parent  # programs alone: a script there names its Python in a line that not every path fits
PYTEST = (sys.executable, "-m", "pytest")

CHECKS: dict[str, tuple[str, ...]] = {  # the quick ones first
    "ruff check": (str(BIN / "ruff"), "check", "."),
    "ruff format": (str(BIN / "ruff"), "format", "--check", "."),
    "import-linter": (sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()"),
    "mypy": (sys.executable, "-m", "mypy"),
    "mpac docs": (sys.executable, "-m", "mpac", "docs", "--check"),
}
# Three processes on two cores, each with a database server of its own: faults mostly wait, and they come first, so that
# what works fills their pauses. By module, because a module's tests share the stack of processes they need.
WHOLE_SUITE = ("-n", "3", "--dist", "loadscope", "--no-loadscope-reorder", "-m", "not long")


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@home_option
def test(pytest_arguments: tuple[str, ...], home: Path) -> None:  # noqa: ARG001 - every word takes --home
    """Run the linters, the type checker and the whole test suite.

    With PYTEST_ARGUMENTS only pytest runs, with them: `mpac test tests/unit -k money`. The tests start servers of their
    own and leave the local stack alone.
    """
    if pytest_arguments:
        sys.exit(run_child([*PYTEST, *pytest_arguments], cwd=ROOT))
    failed = [name for name, words in CHECKS.items() if not _passes(name, words)]
    click.echo("pytest …")
    code = run_child([*PYTEST, *WHOLE_SUITE], cwd=ROOT)
    if failed:  # else pytest's own summary is the last line
        steps = len(CHECKS) + 1
        failed += ["pytest"] if code else []
        click.echo(f"Of {steps} steps these failed: {', '.join(failed)}.")
        click.echo(f"{steps - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else code)


def _passes(name: str, words: tuple[str, ...]) -> bool:
    started = time.monotonic()
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    passed = done.returncode == 0
    click.echo(f"{name:<14} {'passed' if passed else 'FAILED'}  {time.monotonic() - started:5.1f} s")
    if not passed:
        click.echo(done.stdout + done.stderr)
    return passed
