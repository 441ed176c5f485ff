"""`mpac invariants`: every rule about money over the whole database, by all judges."""

import asyncio
import json
import os
import sys
from pathlib import Path

import click
from rich.console import Console

from mpac.options import home_option
from mpac.proof import Verdict, as_json, as_problems, as_table, is_clean, prove
from mpac.stack.attach import attach

NEEDS = ["MPAC_DATABASE_URL", "MPAC_BROKER_URL"]
NARROWEST = 100  # columns, where the output is no terminal


@click.command()
@click.option("--json", "as_data", is_flag=True, help="Print the verdicts as JSON.")
@home_option
def invariants(*, as_data: bool, home: Path) -> None:
    """Check every rule about money; exit code 1 if one is broken.

    The first judge reads our database. The second, which shares no code with it, compares our payments with the sandbox
    provider's own ledger, where there is a sandbox provider. The last adds up settlements, our ledger and the provider's.
    """
    attach(home, needs=NEEDS)
    sandbox_url = os.environ.get("MPAC_SANDBOX_URL", "")
    verdicts = asyncio.run(prove(sandbox_url=sandbox_url, control_key=os.environ.get("MPAC_SANDBOX_CONTROL_KEY", "")))
    if as_data:
        click.echo(json.dumps(as_json(verdicts), indent=2))
    else:
        show(verdicts, sandbox_url=sandbox_url)
    sys.exit(0 if is_clean(verdicts) else 1)


def show(verdicts: list[Verdict], *, sandbox_url: str) -> None:
    """The table, the violations, and the verdict in a sentence."""
    console = Console(highlight=False)
    console.width = max(console.width, NARROWEST)
    console.print(as_table(verdicts))
    for line in as_problems(verdicts):
        console.print(line, style="red", markup=False)
    if not sandbox_url:
        console.print("There is no sandbox provider here, so only our own books could be judged.")
    broken = sum(1 for verdict in verdicts if verdict.count)
    console.print(f"{broken} of {len(verdicts)} rules are broken." if broken else f"All {len(verdicts)} rules hold.")
