"""`mpac status`: show which processes run, where, and whether they are ready."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from mpac.cli.options import home_option
from mpac.stack.clock.summary import HALF_MOVED, ahead_text, clock_state_of
from mpac.stack.database_profile import MOVABLE
from mpac.stack.health import fetch_health, health_problems, process_states, queue_lines
from mpac.stack.run_file import RunInfo, read_run, start_time, unreadable_message
from mpac.stack.state_folder import Home, command, suggest_home

URLS = {  # process → the URL that it serves
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
    """Show the processes and queues of the stack.

    The exit code is 1 if no stack runs, or if a process is not ready, deaf (it consumes nothing) or silent.
    """
    folder = Home(home.absolute())
    info = read_run(folder)
    if info is None:
        click.echo("{}" if as_json else _no_stack_message(folder))
        sys.exit(1)
    clock = clock_state_of(info)
    info["ahead_seconds"] = clock.ahead_seconds
    health = fetch_health(info)
    wrong = health_problems(info, health) + ([HALF_MOVED] if clock.is_half_moved else [])
    lines = [*table(info, process_states(health)), *queue_lines(health), *wrong]
    click.echo(json.dumps(info, indent=2) if as_json else "\n".join(lines))
    sys.exit(0 if is_healthy(info) and not wrong else 1)


def _no_stack_message(home: Home) -> str:
    """Return what to print if run.json names no stack: a stack may be starting, or there is none."""
    no_stack = (
        f"No stack is running in {home.path}. Start one with `{command('up', home.path)}`.{suggest_home(home.path)}"
    )
    return unreadable_message(home) or no_stack


def is_healthy(info: RunInfo) -> bool:
    """Return whether every process that was started is running and ready."""
    return bool(info.get("complete")) and set(info["names"]) == set(info["ready"]) and not info.get("stopping")


def table(info: RunInfo, heard: Mapping[str, tuple[str, str]] | None = None) -> list[str]:
    """Return one line per process.

    ``heard`` maps a worker or beat to its state and to how long ago it was last heard from.
    """
    lines = [f"{'process':<20} {'pid':>8}  {'state':<10} {'heard':<8} where"]
    for name in ["supervisor", *info["names"]]:
        pid = info["pids"].get(name)
        where = info.get(URLS.get(name, ""), "")
        state, (silence, since) = _state(name, info), (heard or {}).get(name, ("heard", ""))
        if state == "ready" and silence != "heard":
            state = silence
        lines.append(f"{name:<20} {pid or '-':>8}  {state:<10} {since:<8} {where}".rstrip())
    user, password = info["flower_auth"]
    if info["flower_url"]:
        lines.append(f"Log in to Flower as {user} with the password {password}.")
    if info.get("ahead_seconds"):
        lines.append(ahead_text(info["ahead_seconds"]))
    if info.get("realm") == MOVABLE.database:
        lines.append("This is the stack of the demonstration, which moves its clock.")
    if info.get("stopping"):
        lines.append("The stack is stopping.")
    elif not info.get("complete"):
        lines.append("The stack is still starting.")
    return lines


def _state(name: str, info: RunInfo) -> str:
    pid = info["pids"].get(name)
    if pid is None or (start_time(pid) == "" and Path("/proc/self").exists()):
        return "done" if name in info["ready"] else "down"
    return "ready" if name in info["ready"] or name == "supervisor" else "starting"
