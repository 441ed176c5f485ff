"""`mpac status`: what runs, where, and whether it is ready."""

import json
import sys
from pathlib import Path

import click

from mpac.options import home_option
from mpac.stack.home import Home, command
from mpac.stack.realm import MOVABLE
from mpac.stack.runfile import RunInfo, birth, read_run

URLS = {  # which URL a process serves
    "postgres": "database_url",
    "valkey": "broker_url",
    "sandbox": "sandbox_url",
    "api": "api_url",
    "flower": "flower_url",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print run.json.")
@home_option
def status(*, as_json: bool, home: Path) -> None:
    """Show the processes of the stack; exit code 1 if none runs or one is not ready."""
    folder = Home(home.absolute())
    info = read_run(folder)
    if info is None:
        click.echo("{}" if as_json else f"No stack runs in {folder.path}: start one with `{command('up', home)}`.")
        sys.exit(1)
    click.echo(json.dumps(info, indent=2) if as_json else "\n".join(table(info)))
    sys.exit(0 if is_well(info) else 1)


def is_well(info: RunInfo) -> bool:
    """Whether everything that was started is there and ready."""
    return bool(info.get("complete")) and set(info["names"]) == set(info["ready"])


def table(info: RunInfo) -> list[str]:
    """One line per process."""
    lines = [f"{'process':<20} {'pid':>8}  {'state':<10} where"]
    for name in ["supervisor", *info["names"]]:
        pid = info["pids"].get(name)
        where = info.get(URLS.get(name, ""), "")
        lines.append(f"{name:<20} {pid or '-':>8}  {_state(name, info):<10} {where}".rstrip())
    user, password = info["flower_auth"]
    if info["flower_url"]:
        lines.append(f"Flower asks for user {user}, password {password}.")
    if info.get("realm") == MOVABLE.database:
        lines.append(
            "This is the demonstration's stack: its database's and its provider's clocks may be ahead of yours."
        )
    return lines


def _state(name: str, info: RunInfo) -> str:
    pid = info["pids"].get(name)
    if pid is None or (birth(pid) == "" and Path("/proc/self").exists()):
        return "done" if name in info["ready"] else "down"
    return "ready" if name in info["ready"] or name == "supervisor" else "starting"
