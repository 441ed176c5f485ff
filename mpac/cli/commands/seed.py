"""`mpac seed`: merchants, stores and activated devices to play with."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import click

from mpac.cli.options import home_option
from mpac.stack.attach import attach
from mpac.stack.home import Home, command

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
    from mpac.devtools.seeding import seed_tenants  # noqa: PLC0415 - `mpac --help` shall not wait for the product

    attach(home, needs=NEEDS)
    made = asyncio.run(seed_tenants(Home(home.absolute()), merchants=merchants, stores=stores, devices=devices))
    click.echo(json.dumps(made, indent=2) if as_json else "\n".join(table(made, home)))


def table(made: dict[str, Any], home: Path) -> list[str]:
    """Return the names and ids for people, and what to type next; keys and tokens are for programs (``--json``)."""
    from mpac.devtools.seeding import PSP_NAME, device_name, merchant_name, store_name  # noqa: PLC0415 - as above

    merchants, stores, devices = made["merchants"], made["stores"], made["devices"]
    in_store = {store: store_name(number, merchants=len(merchants)) for number, store in enumerate(stores)}
    groups = {
        "PSP": [(made["psp_id"], PSP_NAME)],
        "merchants": [(merchant, merchant_name(number)) for number, merchant in enumerate(merchants)],
        "stores": list(in_store.items()),
        "devices": [
            (device["device_id"], f"{device_name(number, stores=len(stores))} in {in_store[device['store_id']]}")
            for number, device in enumerate(devices)
        ],
    }
    lines: list[str] = []
    for group, rows in groups.items():
        lines += [f"{group if place == 0 else '':<10} {row[0]}  {row[1]}" for place, row in enumerate(rows[:SHOWN])]
        if len(rows) > SHOWN:
            lines.append(f"{'':<10} … and {len(rows) - SHOWN} more")
    address = os.environ.get("MPAC_PUBLIC_URL", "")
    return [
        *lines,
        "Devices are active; each store has the sandbox provider for card and qr. To call the API as a cashier there:",
        *([f"  export API={address}/api/v1"] if address else []),
        f"  export TOKEN=$({command('token --role staff', home)})",
        f"Other roles: {', '.join(role for role in made['tokens'] if role != 'staff')}. "
        "Tokens and the devices' private keys are in `seed --json`, which makes new ones.",
    ]
