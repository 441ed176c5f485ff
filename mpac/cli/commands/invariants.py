"""`mpac invariants`: check every rule about money with all auditors, and report unfinished work."""

import asyncio
import json
import os
import sys
from pathlib import Path

import click
from rich.console import Console

from mpac.audit.report import AuditReport, RuleState, as_json, as_problems, as_table, audit_all
from mpac.cli.exit_codes import BROKEN, HOLDS, NOT_CHECKED, UNSURE, UserErrorWithCode, user_errors_exit_with
from mpac.cli.options import home_option
from mpac.stack.attach import attach

NEEDS = ["MPAC_DATABASE_URL", "MPAC_BROKER_URL"]
NARROWEST = 100  # columns, if the output is not a terminal


@click.command()
@click.option("--rules", "with_rules", is_flag=True, help="Print each rule and how many rows it checked.")
@click.option("--json", "as_data", is_flag=True, help="Print everything as JSON.")
@home_option
def invariants(*, with_rules: bool, as_data: bool, home: Path) -> None:
    """Check every rule about money, and report what is open, in doubt or waiting for a person.

    The first auditor reads our database. The second, which shares no code with it, compares our payments with the sandbox
    provider's own ledger, if there is a sandbox provider. The third compares the sums of settlements, our ledger and the
    provider's ledger.

    \b
    Exit codes:
      0   no rule is broken, and nothing is in doubt or waits for a person
      1   a rule is broken
      2   the command was called wrongly
      3   no rule is broken, but an outcome is unknown, or something waits for a person: a payment or
          refund in review, a refund to make by hand, a dead letter
      4   it could not be checked: the database is down, the provider's ledger can't be read …
      70  a bug of this command, with its traceback

    Payments and refunds that are merely open are shown and do not change the exit code.
    """
    with user_errors_exit_with(NOT_CHECKED):
        attach(home, needs=NEEDS)
        sandbox_url = os.environ.get("MPAC_SANDBOX_URL", "")
        key = os.environ.get("MPAC_SANDBOX_CONTROL_KEY", "")
        report = asyncio.run(audit_all(sandbox_url=sandbox_url, control_key=key))
    code = exit_code(report)
    if as_data:
        click.echo(json.dumps({**as_json(report), "exit_code": code}, indent=2))
    else:
        show(report, with_rules=with_rules, sandbox_url=sandbox_url)
    if report.unchecked:
        raise UserErrorWithCode(" ".join(report.unchecked), code)
    sys.exit(code)


def exit_code(report: AuditReport) -> int:
    """Return the exit code for an audit report."""
    if report.rules(RuleState.BROKEN):
        return BROKEN
    if report.unchecked:
        return NOT_CHECKED
    return HOLDS if report.waiting.is_resolved else UNSURE


def show(report: AuditReport, *, with_rules: bool, sandbox_url: str) -> None:
    """Print the result, the violations, what was checked and what is unfinished."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, NARROWEST)
    if with_rules:
        console.print(as_table(report.results))
        console.print()
    for line in as_problems(report.results):
        console.print(line, style="red", markup=False)
    console.print(report.sentence_of_result(), style="bold")
    console.print(report.looked_at_sentence())
    for line in report.waiting.lines():
        console.print(line, markup=False)
    if not sandbox_url:
        console.print("There is no sandbox provider here, so only our own books were checked.")
    if not with_rules:
        console.print("`--rules` lists every rule.", style="dim")
