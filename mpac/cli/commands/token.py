"""`mpac token`: issue a user's token for development."""

import asyncio
from pathlib import Path

import click

from mpac.cli.errors import UserError
from mpac.cli.options import OneOf, home_option
from mpac.stack.attach import attach
from mpac.stack.state_folder import Home

ROLES = ("staff", "store_manager", "merchant_admin", "psp_admin", "system_op")
NEEDS = ("MPAC_DATABASE_URL", "MPAC_BROKER_URL", "MPAC_SECRET_KEY")


@click.command()
@click.option("--role", type=OneOf(ROLES), required=True, help="The role of the user.")
@click.option("--merchant", metavar="ID", help="The user's merchant; default: the newest one.")
@click.option("--store", metavar="ID", help="The user's store; default: the newest of the merchant.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True, max=24 * 365),
    default=12,
    show_default=True,
    help="How long it is valid.",
)
@home_option
def token(role: str, *, merchant: str | None, store: str | None, hours: float, home: Path) -> None:
    """Print a user's token, signed with the key of the state folder, and nothing else."""
    from mpac.devtools.find_tenant import find_tenant  # noqa: PLC0415 - keeps `mpac --help` fast
    from mpac.devtools.user_tokens import Tenant, UserTokens  # noqa: PLC0415 - as above

    tokens = UserTokens(Home(home.absolute()))
    tenant = Tenant()
    if role != "system_op":
        attach(home, needs=NEEDS)
        tenant = asyncio.run(find_tenant(merchant_id=merchant, store_id=store))
    if role in ("staff", "store_manager") and not tenant.store_id:
        raise UserError("This merchant has no store: create one with POST /api/v1/stores or `python3 run.py seed`.")
    click.echo(tokens.issue(role, tenant, hours=hours))
