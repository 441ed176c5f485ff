"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mpac.cli.offline_help import closest_match
from mpac.stack.state_folder import DEFAULT_HOME

Decorated = Callable[..., Any]


class OneOf(click.Choice[str]):
    """A choice that suggests the nearest value for a mistyped one."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        near = closest_match(str(value), self.choices)
        return super().get_invalid_choice_message(value, ctx) + (f" Did you mean `{near}`?" if near else "")


def home_option(command: Decorated) -> Decorated:
    """Add ``--home DIR``; the default is MPAC_HOME, else ``.mpac`` in the checkout."""
    return click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="MPAC_HOME",
        default=DEFAULT_HOME,
        show_default=".mpac in the checkout",
        help="The state folder of the local stack.",
    )(command)


def port_option(default: int) -> Callable[[Decorated], Decorated]:
    """Add ``--host`` and ``--port`` for a command that runs one process."""

    def decorate(command: Decorated) -> Decorated:
        command = click.option("--port", type=click.IntRange(1, 65_535), default=default, show_default=True)(command)
        return click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 in a container.")(command)

    return decorate
