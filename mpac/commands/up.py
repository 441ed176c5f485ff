"""`mpac up`: the whole stack in the foreground, or in the background with --detach."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import click

from mpac.options import home_option
from mpac.stack.detach import detach_up
from mpac.stack.home import command
from mpac.stack.local import LocalStack
from mpac.stack.output import ConsoleOutput
from mpac.stack.parts import EVERYTHING, missing_parts
from mpac.stack.realm import MOVABLE, ORDINARY, Realm
from mpac.stack.runfile import RunInfo

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MOST_WORKERS = 64


@click.command()
@click.option("--workers", type=click.IntRange(1, MOST_WORKERS), default=1, show_default=True, help="Payment workers.")
@click.option(
    "--ports",
    default="auto",
    show_default=True,
    metavar="auto|free|BASE",
    help="BASE: API there, Flower, sandbox, PostgreSQL, Valkey on the next four. auto: 8800, or free ones if taken.",
)
@click.option("--detach", is_flag=True, help="Start in the background, return when all is ready; `mpac down` stops it.")
@click.option("--only", multiple=True, type=click.Choice(EVERYTHING), help="Only these parts; may be given repeatedly.")
@click.option(
    "--movable-clock",
    is_flag=True,
    help="The demonstration's own database and provider, whose clocks it has moved ahead.",
)
@home_option
def up(workers: int, ports: str, *, detach: bool, only: tuple[str, ...], movable_clock: bool, home: Path) -> None:
    """Start everything and show its output until Ctrl-C.

    MPAC_DATABASE_URL, MPAC_BROKER_URL and MPAC_SANDBOX_URL, where set, are used instead of servers of our own.
    """
    if detach:
        show(detach_up(home, sys.argv[1:]))
        click.echo(f"Stop it with `{command('down', home)}`.")
        return
    realm = MOVABLE if movable_clock else ORDINARY
    asyncio.run(_run(home, workers=workers, ports=ports, only=only, realm=realm))


async def _run(home: Path, *, workers: int, ports: str, only: Sequence[str], realm: Realm) -> None:
    output = ConsoleOutput()
    wanted = only or EVERYTHING
    missing = {} if only else missing_parts(wanted)
    for part, file in missing.items():
        output.say("mpac", f"{part} is left out: {file} is not in this checkout.")
    stopped = asyncio.Event()
    stack = LocalStack(
        home,
        ports=ports,
        workers=workers,
        parts=[part for part in wanted if part not in missing],
        output=output,
        realm=realm,
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
        show(stack.info())
        await stopped.wait()
        output.say("mpac", "stopping; what is in hand is finished first.")
    finally:
        await stack.__aexit__(None, None, None)


def show(info: RunInfo) -> None:
    """Where everything is, for the person who started it."""
    user, password = info["flower_auth"]
    rows = {
        "API": info["api_url"],
        "API documentation": f"{info['api_url']}/docs" if info["api_url"] else "",
        "Flower": f"{info['flower_url']}  (user {user}, password {password})" if info["flower_url"] else "",
        "Sandbox provider": info["sandbox_url"],
        "Database": info["database_url"],
        "Broker": info["broker_url"],
    }
    click.echo("Ready. Rate limits are off, since this is a stack to try and to load.")
    for name, value in rows.items():
        if value:
            click.echo(f"  {name:<18} {value}")
    if info["ahead_seconds"]:
        ahead = timedelta(seconds=info["ahead_seconds"])
        click.echo(f"Its clock was {ahead} ahead of yours when it started: a demonstration moved it.")


def _stop(stopped: asyncio.Event, starting: "asyncio.Task[LocalStack]") -> None:
    stopped.set()
    if not starting.done():
        starting.cancel()
