"""`mpac seed`: merchants, stores and activated devices to play with."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from mpac.options import home_option
from mpac.stack.attach import attach
from mpac.stack.home import Home

NEEDS = ("MPAC_DATABASE_URL", "MPAC_BROKER_URL", "MPAC_SECRET_KEY")
MOST = 100_000  # of each: enough for every load a machine of one's own can bear
SHOWN = 5


@click.command()
@click.option("--devices", type=click.IntRange(0, MOST), default=1, show_default=True, help="Devices in all.")
@click.option("--stores", type=click.IntRange(1, MOST), default=1, show_default=True, help="Stores in all.")
@click.option(
    "--merchants", type=click.IntRange(1, MOST), default=1, show_default=True, help="Merchants of one new PSP."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, private keys and tokens included.")
@home_option
def seed(devices: int, stores: int, merchants: int, *, as_json: bool, home: Path) -> None:
    """Make tenants and activated devices, and tokens for a user of each role that are good for 12 hours.

    Devices are spread evenly over the stores, stores over the merchants (each gets one at least). Each call makes new ones.
    """
    from mpac.seeding import seed_tenants  # noqa: PLC0415 - `mpac --help` shall not wait for the product

    attach(home, needs=NEEDS)
    made = asyncio.run(seed_tenants(Home(home.absolute()), merchants=merchants, stores=stores, devices=devices))
    click.echo(json.dumps(made, indent=2) if as_json else "\n".join(table(made)))


def table(made: dict[str, Any]) -> list[str]:
    """The same for people: without keys, which only programs can use."""
    devices = made["devices"]
    lines = [
        f"PSP        {made['psp_id']}",
        f"merchants  {len(made['merchants'])}, the first {made['merchant_id']}",
        f"stores     {len(made['stores'])}, the first {made['store_id']}, each with the sandbox provider for card and qr",
        f"devices    {len(devices)}, active:",
        *(f"           {device['device_id']} in {device['store_id']}" for device in devices[:SHOWN]),
    ]
    if len(devices) > SHOWN:
        lines.append(f"           … and {len(devices) - SHOWN} more")
    lines.append("tokens     (for 12 hours, in the first store and its merchant)")
    lines += [f"  {role}\n    {token}" for role, token in made["tokens"].items()]
    lines.append("The devices' private keys are printed by `python3 run.py seed --json` only, which makes new ones.")
    return lines
