"""`mpac docs`: write what is rendered from the code into README.md and docs/."""

import sys
from pathlib import Path

import click

from mpac.cli.options import home_option
from mpac.stack.state_folder import ROOT


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a file differs from the code.")
@home_option
def docs(*, check: bool, home: Path) -> None:  # noqa: ARG001 - every command takes --home
    """Render tables, diagrams and texts from the code: statuses, errors, configuration, commands."""
    from mpac.devtools.documentation.insert_sections import pages  # noqa: PLC0415 - `mpac --help` shall not wait for the product

    drifted = [page for page in pages(ROOT) if page.has_drifted]
    for page in drifted:
        if not check:
            (ROOT / page.name).write_text(page.wanted)
        click.echo(f"{page.name} {'differs from the code: run `python3 run.py docs`' if check else 'written'}.")
    if not drifted:
        click.echo("All generated documentation agrees with the code.")
    sys.exit(1 if check and drifted else 0)
