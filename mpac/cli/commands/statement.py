"""`mpac statement`: a provider's statement for a settlement, with known breaks planted, and the truth beside it."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from random import Random

import click

from mpac.cli.errors import UserError, WrongUsage
from mpac.cli.offline_help import unknown
from mpac.cli.options import OneOf, home_option
from mpac.devtools.statement.lines import write_csv, write_json_lines
from mpac.devtools.statement.plant import SPOILS, TooFew, plant
from mpac.stack.attach import attach

NEEDS = ("MPAC_DATABASE_URL", "MPAC_BROKER_URL", "MPAC_SECRET_KEY")
ORDERS = ("as-is", "shuffled", "reversed")
WRITERS = {".csv": write_csv, ".ndjson": write_json_lines, ".jsonl": write_json_lines}


@click.command()
@click.option("--settlement", metavar="ID", required=True, help="Whose lines the statement is made of.")
@click.option(
    "--plant", "planted", multiple=True, metavar="CATEGORY[=N]", help="A break to plant, N times; may be repeated."
)
@click.option("--provider", default="sandbox", show_default=True, help="Whose statement it is.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed plants the same.")
@click.option("--order", type=OneOf(ORDERS), default="as-is", show_default=True, help="The order of its lines.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="FILE.csv or FILE.ndjson.")
@home_option
def statement(  # noqa: PLR0917 - click passes each option
    settlement: str, planted: tuple[str, ...], provider: str, seed: int, order: str, out: Path, home: Path
) -> None:
    """Write a statement that agrees with a settlement but for the planted breaks, and OUT.truth.json that names them."""
    from mpac.devtools.statement.read import read_lines  # noqa: PLC0415 - `mpac --help` shall not wait for the product
    from workflows.providers.registry import reporting_names  # noqa: PLC0415 - the same

    wanted = dict(read_plant(word) for word in planted)
    if out.suffix not in WRITERS:
        raise WrongUsage(f"--out is a file that ends in .csv or .ndjson, not {out.name}.")
    if provider not in reporting_names():
        raise WrongUsage(unknown("provider with statements", provider, reporting_names()))
    attach(home, needs=NEEDS)
    lines = asyncio.run(read_lines(settlement, provider=provider))
    try:
        ordered, truth = plant(lines, wanted, seed=seed)
    except TooFew as few:
        raise UserError(f"{few}: take a larger settlement or plant less.") from few
    if order == "shuffled":
        Random(seed).shuffle(ordered)  # noqa: S311 - the same seed has to give the same order
    elif order == "reversed":
        ordered.reverse()
    with out.open("w", encoding="utf-8", newline="") as file:
        count = WRITERS[out.suffix](file, ordered)
    beside = out.with_suffix(".truth.json")
    facts = {"settlement_id": settlement, "provider": provider, "seed": seed, "lines": count}
    beside.write_text(json.dumps({**facts, "planted": [asdict(one) for one in truth]}, indent=2) + "\n")
    click.echo(f"{count} lines in {out}, {len(truth)} breaks in {beside}")


def read_plant(word: str) -> tuple[str, int]:
    """``amount_mismatch=3`` → its two parts. Raises ``UserError``."""
    category, _, count = word.partition("=")
    if category not in SPOILS:
        raise WrongUsage(unknown("break", category, SPOILS))
    if count and not count.isdigit():
        raise WrongUsage(f"How often is {category} to be planted? Write for example {category}=3.")
    return category, int(count or 1)
