"""`mpac secrets`: the passwords and keys of an installation of one's own, made where they are missing."""

from pathlib import Path

import click

from mpac.cli.options import home_option
from mpac.stack.environment import FLOWER_USER
from mpac.stack.home import open_home
from mpac.stack.secrets import Secrets, load_secrets


@click.command()
@click.option("--env", "as_variables", is_flag=True, help="Print them as variables: `mpac secrets --env > .env`.")
@home_option
def secrets(*, as_variables: bool, home: Path) -> None:
    """Make the secrets of the state folder where they are missing, and say where they are.

    With --env the values are printed as docker-compose.yml wants them in `.env`. Keep that file out of the repository
    and readable for yourself alone (`umask 077` first).
    """
    folder = open_home(home)
    found = load_secrets(folder)
    click.echo("\n".join(variables(found)) if as_variables else f"The passwords and keys are in {folder.secrets}.")


def variables(found: Secrets) -> list[str]:
    """The lines of ``.env``. The signing keys are not among them: in a container they are files of a volume."""
    return [
        "# Made by `mpac secrets --env` for docker-compose.yml. Secret: never commit this file.",
        f"MPAC_DATABASE_PASSWORD={found['database_password']}",
        f"MPAC_BROKER_PASSWORD={found['broker_password']}",
        f"MPAC_SECRET_KEY={found['secret_key']}",
        f"MPAC_SANDBOX_API_KEY={found['sandbox_api_key']}",
        f"MPAC_SANDBOX_CONTROL_KEY={found['sandbox_control_key']}",
        f"MPAC_SANDBOX_WEBHOOK_SECRET={found['sandbox_webhook_secret']}",
        f"MPAC_FLOWER_USER={FLOWER_USER}",
        f"MPAC_FLOWER_PASSWORD={found['flower_password']}",
    ]
