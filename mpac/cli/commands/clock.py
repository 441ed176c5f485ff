"""`mpac clock`: show the time of a development stack, or move it forward."""

import asyncio
import json
from pathlib import Path

import click

from mpac.cli.offline_help import closest_match
from mpac.cli.options import home_option

OPTIONS = ("--to", "--to-next-close", "--zone", "--json", "--home", "--help")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("distance", required=False, metavar="[+1d12h]")
@click.option(
    "--to", metavar="TIME", help="Move to 05:00 (the next one) or '2026-12-01 00:05', in the stores' time zone."
)
@click.option("--to-next-close", is_flag=True, help="Move to when the next business day is closed.")
@click.option("--zone", metavar="NAME", help="The time zone to show and read times in, for example Asia/Tokyo.")
@click.option("--json", "as_json", is_flag=True, help="Print the times as JSON; after a move, the new ones.")
@home_option
def clock(  # noqa: PLR0917 - click passes each option
    distance: str | None, to: str | None, to_next_close: bool, zone: str | None, as_json: bool, home: Path
) -> None:
    """Show the time of the stack, or move it forward: +90m, +1d, +1d12h.

    The units are w, d, h, m and s; a day has 24 hours. Database and provider move together once no payment is being
    processed, and their clocks tick on from there. API, beat and workers follow; tokens and assertions keep the real
    time. The command prints what became due and what the workers did.

    A stack stays ahead after `down` and `up`. Nothing moves it back; `reset` deletes it. It works only for a stack that `up`
    started on its own database and provider, never for an installation.
    """
    if distance is not None and distance.startswith("--"):  # -1d is read as a distance, which is refused with a reason
        near = closest_match(distance, OPTIONS)
        raise click.NoSuchOption(distance, possibilities=[near] if near else None)
    from mpac.stack.clock.run import ClockRequest, run_clock  # noqa: PLC0415 - `mpac --help` shall not wait for the product

    wanted = ClockRequest(distance=distance, to=to, to_next_close=to_next_close, zone=zone)
    shown = asyncio.run(run_clock(home, wanted, say=click.echo if not as_json else lambda _: None))
    if as_json:
        click.echo(json.dumps(shown, indent=2))
