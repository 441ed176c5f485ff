"""`mpac secrets`: create missing passwords and keys of an installation."""

from pathlib import Path

import click

from mpac.cli.options import home_option
from mpac.stack.environment import FLOWER_USER
from mpac.stack.secrets import Secrets, load_secrets
from mpac.stack.state_folder import open_home


@click.command()
@click.option(
    "--env", "as_variables", is_flag=True, help="Print them as variables: `python3 run.py secrets --env > .env`."
)
@home_option
def secrets(*, as_variables: bool, home: Path) -> None:
    """Create the secrets that the state folder lacks, and print where they are.

    With --env the values are printed as docker-compose.yml needs them in `.env`. Keep that file out of the repository and
    readable for yourself only (run `umask 077` first).
    """
    folder = open_home(home)
    found = load_secrets(folder)
    click.echo("\n".join(variables(found)) if as_variables else f"The passwords and keys are in {folder.secrets}.")


def variables(found: Secrets) -> list[str]:
    """Return the lines of ``.env``.

    The signing keys are not among the lines: a container gets the keys as files of a volume.
    """
    return [
        "# Created by `python3 run.py secrets --env` for docker-compose.yml. Secret: never commit this file.",
        f"MPAC_DATABASE_PASSWORD={found['database_password']}",
        f"MPAC_BROKER_PASSWORD={found['broker_password']}",
        f"MPAC_SECRET_KEY={found['secret_key']}",
        f"MPAC_SANDBOX_API_KEY={found['sandbox_api_key']}",
        f"MPAC_SANDBOX_CONTROL_KEY={found['sandbox_control_key']}",
        f"MPAC_SANDBOX_WEBHOOK_SECRET={found['sandbox_webhook_secret']}",
        f"MPAC_FLOWER_USER={FLOWER_USER}",
        f"MPAC_FLOWER_PASSWORD={found['flower_password']}",
    ]
