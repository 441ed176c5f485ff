"""`mpac statement`: write a provider's statement with known breaks, and a file that lists the breaks."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from random import Random

import click

from mpac.cli.errors import UserError, WrongUsage
from mpac.cli.offline_help import unknown_name_message
from mpac.cli.options import OneOf, home_option
from mpac.devtools.statement.inject_breaks import CHANGES, TooFewLines, inject_breaks
from mpac.devtools.statement.lines import write_csv, write_json_lines
from mpac.stack.attach import attach

NEEDS = ("MPAC_DATABASE_URL", "MPAC_BROKER_URL", "MPAC_SECRET_KEY")
ORDERS = ("as-is", "shuffled", "reversed")
WRITERS = {".csv": write_csv, ".ndjson": write_json_lines, ".jsonl": write_json_lines}


@click.command()
@click.option("--settlement", metavar="ID", required=True, help="The settlement whose lines the statement repeats.")
@click.option(
    "--plant", "planted", multiple=True, metavar="CATEGORY[=N]", help="A break to plant N times; may be repeated."
)
@click.option("--provider", default="sandbox", show_default=True, help="The provider that the statement is from.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed plants the same breaks.")
@click.option("--order", type=OneOf(ORDERS), default="as-is", show_default=True, help="The order of its lines.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="FILE.csv or FILE.ndjson.")
@home_option
def statement(  # noqa: PLR0917 - click passes each option
    settlement: str, planted: tuple[str, ...], provider: str, seed: int, order: str, out: Path, home: Path
) -> None:
    """Write a statement that agrees with a settlement except for planted breaks.

    The planted breaks are listed in OUT.truth.json.
    """
    from mpac.devtools.statement.read import read_lines  # noqa: PLC0415 - keeps `mpac --help` fast
    from workflows.providers.registry import reporting_names  # noqa: PLC0415 - as above

    wanted = dict(parse_break_option(word) for word in planted)
    if out.suffix not in WRITERS:
        raise WrongUsage(f"--out must end in .csv or .ndjson, not {out.name}.")
    if provider not in reporting_names():
        raise WrongUsage(unknown_name_message("provider with statements", provider, reporting_names()))
    attach(home, needs=NEEDS)
    lines = asyncio.run(read_lines(settlement, provider=provider))
    try:
        ordered, truth = inject_breaks(lines, wanted, seed=seed)
    except TooFewLines as few:
        raise UserError(f"{few}: choose a larger settlement or plant fewer breaks.") from few
    if order == "shuffled":
        Random(seed).shuffle(ordered)  # noqa: S311 - the same seed has to give the same order
    elif order == "reversed":
        ordered.reverse()
    with out.open("w", encoding="utf-8", newline="") as file:
        count = WRITERS[out.suffix](file, ordered)
    beside = out.with_suffix(".truth.json")
    facts = {"settlement_id": settlement, "provider": provider, "seed": seed, "lines": count}
    beside.write_text(json.dumps({**facts, "planted": [asdict(injected) for injected in truth]}, indent=2) + "\n")
    click.echo(f"{count} lines written to {out}, {len(truth)} planted breaks listed in {beside}.")


def parse_break_option(word: str) -> tuple[str, int]:
    """Split ``amount_mismatch=3`` into category and count. Raises ``WrongUsage``."""
    category, _, count = word.partition("=")
    if category not in CHANGES:
        raise WrongUsage(unknown_name_message("break", category, CHANGES))
    if count and not count.isdigit():
        raise WrongUsage(f"{count!r} is not a number of breaks: write for example {category}=3.")
    return category, int(count or 1)
