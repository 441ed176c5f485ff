"""`mpac status`: what runs, where, and whether it is ready."""

import json
import sys
from pathlib import Path

import click

from mpac.clock.mention import HALF_MOVED, ahead_written, clock_of
from mpac.options import home_option
from mpac.stack.home import Home, command
from mpac.stack.realm import MOVABLE
from mpac.stack.runfile import RunInfo, birth, read_run

ANSWER_WITHIN_SECONDS = 5  # the API reports within three whether its database answers
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
    clock = clock_of(info)
    info["ahead_seconds"] = clock.ahead_seconds
    wrong = complaints(info) + ([HALF_MOVED] if clock.is_half_moved else [])
    click.echo(json.dumps(info, indent=2) if as_json else "\n".join([*table(info), *wrong]))
    sys.exit(0 if is_well(info) and not wrong else 1)


def is_well(info: RunInfo) -> bool:
    """Whether everything that was started is there and ready."""
    return bool(info.get("complete")) and set(info["names"]) == set(info["ready"])


def complaints(info: RunInfo) -> list[str]:
    """Return the faults that the API reports of the stack: a running process may still do nothing."""
    if "api" not in info["ready"]:
        return []
    from urllib.error import HTTPError  # noqa: PLC0415 - takes 0.1 s, which other commands need not wait for
    from urllib.request import urlopen  # noqa: PLC0415 - as above

    try:
        with urlopen(f"{info['api_url']}/health/ready", timeout=ANSWER_WITHIN_SECONDS) as answer:  # noqa: S310 - ours, http
            said = json.load(answer)
    except HTTPError as error:
        return [f"The API is not ready: {info['api_url']}/health/ready answers {error.code}."]
    except (OSError, ValueError):
        return [f"The API does not answer at {info['api_url']}."]
    if said.get("beat") == "silent" and "beat" in info["names"]:
        return ["Beat is silent: no worker has received a sweep for a minute, so retries, inquiries and closings wait."]
    return []


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
    if info.get("ahead_seconds"):
        lines.append(ahead_written(info["ahead_seconds"]))
    if info.get("realm") == MOVABLE.database:
        lines.append("This is the demonstration's stack, which moves its clock.")
    return lines


def _state(name: str, info: RunInfo) -> str:
    pid = info["pids"].get(name)
    if pid is None or (birth(pid) == "" and Path("/proc/self").exists()):
        return "done" if name in info["ready"] else "down"
    return "ready" if name in info["ready"] or name == "supervisor" else "starting"
