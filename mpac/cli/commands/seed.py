"""`mpac seed`: create merchants, stores and activated devices for trying things out."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import click

from mpac.cli.options import home_option
from mpac.stack.attach import attach
from mpac.stack.state_folder import Home, command

NEEDS = ("MPAC_DATABASE_URL", "MPAC_BROKER_URL", "MPAC_SECRET_KEY")
MOST = 100_000  # of each: enough for any load that one machine can bear
SHOWN = 5


@click.command()
@click.option(
    "--devices", type=click.IntRange(0, MOST), default=1, show_default=True, help="Number of devices in total."
)
@click.option("--stores", type=click.IntRange(1, MOST), default=1, show_default=True, help="Number of stores in total.")
@click.option(
    "--merchants",
    type=click.IntRange(1, MOST),
    default=1,
    show_default=True,
    help="Number of merchants, all of one new PSP.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, including private keys and tokens.")
@home_option
def seed(devices: int, stores: int, merchants: int, *, as_json: bool, home: Path) -> None:
    """Create tenants and activated devices, and a token for a user of each role.

    The tokens are valid for 12 hours. Devices are spread evenly over the stores, and stores over the merchants (at
    least one each). Each call creates new ones.
    """
    from mpac.devtools.seeding import seed_tenants  # noqa: PLC0415 - keeps `mpac --help` fast

    attach(home, needs=NEEDS)
    made = asyncio.run(seed_tenants(Home(home.absolute()), merchants=merchants, stores=stores, devices=devices))
    click.echo(json.dumps(made, indent=2) if as_json else "\n".join(table(made, home)))


def table(made: dict[str, Any], home: Path) -> list[str]:
    """Return lines with names, ids and the next commands to type.

    Keys and tokens are printed only with ``--json``.
    """
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
        "The devices are active, and each store takes card and qr by the sandbox provider. To call the API as a cashier:",
        *([f"  export API={address}/api/v1"] if address else []),
        f"  export TOKEN=$({command('token --role staff', home)})",
        f"Other roles: {', '.join(role for role in made['tokens'] if role != 'staff')}. "
        "To get tokens and the devices' private keys, run `seed --json`, which creates new ones.",
    ]
