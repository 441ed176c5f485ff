"""`mpac up`: start the whole stack in the foreground, or in the background with --detach."""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click
from click.core import ParameterSource

from mpac.cli.errors import UserError
from mpac.cli.options import OneOf, home_option
from mpac.stack.clock.summary import ahead_text, clock_state_of
from mpac.stack.compare_options import describe_differences
from mpac.stack.database_profile import MOVABLE, ORDINARY, DatabaseProfile
from mpac.stack.detach import join_or_start
from mpac.stack.enter_key import watch_enter
from mpac.stack.environment import HIDDEN, without_password
from mpac.stack.local_stack import LocalStack
from mpac.stack.process_output import ConsoleOutput
from mpac.stack.run_file import RunInfo, already_running_message, is_running
from mpac.stack.services import ALL_SERVICES, missing_services
from mpac.stack.state_folder import command, open_home

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MOST_WORKERS = 64
HINT = "Press Enter to see this again, Ctrl-C to stop."


@click.command()
@click.option(
    "--workers", type=click.IntRange(1, MOST_WORKERS), default=1, show_default=True, help="Number of payment workers."
)
@click.option(
    "--ports",
    default="auto",
    show_default=True,
    metavar="auto|free|BASE",
    help="BASE: the API's port; Flower, sandbox, PostgreSQL and Valkey get the next four. auto: 8800, or free ones.",
)
@click.option("--detach", is_flag=True, help="Start in the background and return when all is ready; `down` stops it.")
@click.option("--only", multiple=True, type=OneOf(ALL_SERVICES), help="Start only this service; may be repeated.")
@click.option(
    "--movable-clock",
    is_flag=True,
    help="Start on the demonstration's database and provider, whose clocks are ahead.",
)
@click.option("--background", is_flag=True, hidden=True, help="What --detach starts: its output is logs/up.log.")
@home_option
def up(
    workers: int, ports: str, *, detach: bool, only: tuple[str, ...], movable_clock: bool, background: bool, home: Path
) -> None:
    """Start everything and show its output until Ctrl-C.

    If MPAC_DATABASE_URL, MPAC_BROKER_URL or MPAC_SANDBOX_URL is set, that server is used and no local one is started.
    """
    profile = MOVABLE if movable_clock else ORDINARY
    if detach:
        given = click.get_current_context().get_parameter_source
        asked = {name for name in ("workers", "ports") if given(name) is not ParameterSource.DEFAULT}
        differs = partial(
            describe_differences,
            workers=workers if "workers" in asked else None,
            ports=ports if "ports" in asked else None,
            only=only,
            profile=profile,
        )
        _detach(home, differs)
        return
    if is_running(open_home(home)):
        raise UserError(already_running_message(open_home(home)))
    output = ConsoleOutput(open_home(home), follows=not background)
    try:
        asyncio.run(_run(home, output, workers=workers, ports=ports, only=only, profile=profile))
    finally:
        output.close()


def _detach(home: Path, differs: Callable[[RunInfo], list[str]]) -> None:
    """Start a stack in the background, or find the running one; print its addresses.

    If a running stack was started with other options, print which ones differ.
    """
    info, is_new = join_or_start(home, sys.argv[1:])
    if not is_new:
        info["ahead_seconds"] = clock_state_of(info).ahead_seconds
        click.echo(f"A stack is already running in {home.absolute()} (pid {info['pids']['supervisor']}).")
    click.echo("\n".join(summary(info, secret=is_terminal())))
    found = [] if is_new else differs(info)
    if found:
        click.echo(f"It was started with other options: {'; '.join(found)}. Stop it first to change that.")
    click.echo(f"Stop it with `{command('down', home)}`.")


async def _run(
    home: Path, output: ConsoleOutput, *, workers: int, ports: str, only: Sequence[str], profile: DatabaseProfile
) -> None:
    wanted = only or ALL_SERVICES
    missing = {} if only else missing_services(wanted)
    for service, file in missing.items():
        output.say("mpac", f"{service} is not started: {file} is not in this checkout.")
    stopped = asyncio.Event()
    stack = LocalStack(
        home,
        ports=ports,
        workers=workers,
        services=[service for service in wanted if service not in missing],
        output=output,
        profile=profile,
    )
    starting = asyncio.create_task(stack.__aenter__())
    loop = asyncio.get_running_loop()
    for number in STOPPING:
        loop.add_signal_handler(number, _stop, stopped, starting)
    try:
        await starting
    except asyncio.CancelledError:
        return
    try:
        _print_addresses(stack, output)
        await stopped.wait()
        output.say("mpac", "stopping; payments in progress are finished first.", level="INFO")
    finally:
        await stack.__aexit__(None, None, None)


def _print_addresses(stack: LocalStack, output: ConsoleOutput) -> None:
    """Print the addresses.

    On a terminal, print them again at each Enter, because log lines scroll them away.
    """
    output.report("\n".join(summary(stack.info(), secret=output.is_terminal)), "stack.ready", addresses(stack.info()))
    if output.is_terminal and watch_enter(lambda: output.print("\n".join([*summary(stack.info(), secret=True), HINT]))):
        output.print(HINT)


def addresses(info: RunInfo) -> dict[str, str]:
    """Return the addresses without passwords. A program that needs the passwords finds them in run.json."""
    return {name: without_password(value) for name, value in info.items() if name.endswith("_url") and value}


def summary(info: RunInfo, *, secret: bool) -> list[str]:
    """Return lines with the addresses.

    Passwords are included only if ``secret``, because output is often saved to a file.
    """
    user, password = info["flower_auth"]
    rows = {
        "API": info["api_url"],
        "API documentation": f"{info['api_url']}/docs" if info["api_url"] else "",
        "Flower": f"{info['flower_url']}  (user {user}, password {password if secret else HIDDEN})"
        if info["flower_url"]
        else "",
        "Sandbox provider": info["sandbox_url"],
        "Database": info["database_url"] if secret else without_password(info["database_url"]),
        "Broker": info["broker_url"] if secret else without_password(info["broker_url"]),
    }
    lines = ["Ready. Rate limits are off in a local stack, so that it can be put under load."]
    lines += [f"  {name:<18} {value}" for name, value in rows.items() if value]
    if not secret:
        lines.append(f"`python3 run.py status` shows the passwords that are {HIDDEN} above.")
    if info["ahead_seconds"]:
        lines.append(ahead_text(info["ahead_seconds"]))
    return lines


def is_terminal() -> bool:
    """Return whether the output goes to a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def _stop(stopped: asyncio.Event, starting: "asyncio.Task[LocalStack]") -> None:
    stopped.set()
    if not starting.done():
        starting.cancel()
