"""`mpac doctor`: check this machine and say what to do about each problem."""

import sys
from pathlib import Path

import click

from mpac.cli.doctor_checks import CHECKS, run_check
from mpac.cli.options import home_option
from mpac.stack.state_folder import Home


@click.command()
@home_option
def doctor(home: Path) -> None:
    """Check this machine; exit with 1 if the local stack can't start on it."""
    folder = Home(home.absolute())
    findings = {name: run_check(check, folder) for name, check in CHECKS.items()}
    for name, finding in findings.items():
        mark = "NO" if finding.fatal else "note" if finding.advice else "ok"
        click.echo(f"{mark:<5} {name:<13} {finding.text}")
        if finding.advice:
            click.echo(f"{'':<19} → {finding.advice}")
    fatal = [name for name, finding in findings.items() if finding.fatal]
    click.echo(f"Fix these first: {', '.join(fatal)}." if fatal else "`python3 run.py up` can start here.")
    sys.exit(1 if fatal else 0)
