"""The proof: what all judges say, in one list, for `mpac invariants` and for the end of a demonstration.

The judges share nothing with the product. They meet only here, where their verdicts are put beside each other.
"""

import os
from dataclasses import asdict, dataclass

from rich.table import Table

from mpac.judges import net, sums
from mpac.judges.provider import SENTENCES, judge_by_ledger
from mpac.trouble import Trouble

OURS = "our database"
PROVIDERS = "the provider's own ledger"
ALL_BOOKS = "all books, added up"
SHOWN = 20  # violations told one by one, per rule


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule, judged. ``violations`` are the first ones as (entity, problem); ``count`` is all of them."""

    invariant: str
    rule: str
    sentence: str
    judge: str
    checked: int
    count: int
    violations: tuple[tuple[str, str], ...]


async def prove(*, sandbox_url: str, control_key: str) -> list[Verdict]:
    """All judges over everything; the provider's ledger is asked only where there is a sandbox provider.

    The product's variables must be in the environment. Raises ``Trouble`` where something that is to be judged can't be
    read.
    """
    verdicts = await _first_judge()
    database_url = os.environ["MPAC_DATABASE_URL"]
    if sandbox_url:
        verdicts += await _second_judge(database_url=database_url, sandbox_url=sandbox_url, control_key=control_key)
        verdicts += await _judge_of_net(database_url=database_url, sandbox_url=sandbox_url, control_key=control_key)
    return verdicts + await _judge_of_sums(
        database_url=database_url, sandbox_url=sandbox_url or None, control_key=control_key
    )


def is_clean(verdicts: list[Verdict]) -> bool:
    """Whether no rule is broken."""
    return all(verdict.count == 0 for verdict in verdicts)


def as_json(verdicts: list[Verdict]) -> dict[str, object]:
    """The same for machines."""
    return {"clean": is_clean(verdicts), "rules": [asdict(verdict) for verdict in verdicts]}


def as_table(verdicts: list[Verdict]) -> Table:
    """The same for people."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    table.add_column("rule")
    table.add_column("checked", justify="right", no_wrap=True)
    table.add_column("violations", justify="right", no_wrap=True)
    judge = ""
    for verdict in verdicts:
        if verdict.judge != judge:
            judge = verdict.judge
            table.add_row("", f"by {judge}", style="bold cyan")
        colour = "red" if verdict.count else "green"
        count = f"[{colour}]{verdict.count:,}[/{colour}]"
        table.add_row(verdict.invariant, verdict.sentence, f"{verdict.checked:,}", count)
    return table


def as_problems(verdicts: list[Verdict]) -> list[str]:
    """One line for each violation that was told, and how many were not."""
    lines = []
    for verdict in verdicts:
        lines += [f"{verdict.invariant} {entity}: {problem}" for entity, problem in verdict.violations]
        if verdict.count > len(verdict.violations):
            lines.append(f"{verdict.invariant} {verdict.rule}: {verdict.count - len(verdict.violations):,} more")
    return lines


async def _first_judge() -> list[Verdict]:
    # The product's imports take a second, which `mpac --help` must not.
    from sqlalchemy.exc import ProgrammingError  # noqa: PLC0415

    from workflows.database import Role, connect, disconnect  # noqa: PLC0415
    from workflows.errors import ServiceUnavailable  # noqa: PLC0415
    from workflows.invariants.check import check_invariants  # noqa: PLC0415
    from workflows.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    connect(settings, roles=(Role.OWNER,))
    try:
        findings = await check_invariants(review_after_seconds=settings.review_after_seconds)
    except ServiceUnavailable as error:
        raise Trouble("The database does not answer: is it up? `python3 run.py status` tells.") from error
    except ProgrammingError as error:
        said = str(error.orig).partition("\n")[0]
        raise Trouble(
            f"The database can't be judged ({said}): is it at the newest schema? `python3 run.py migrate` sees to it."
        ) from error
    finally:
        await disconnect()
    return [
        Verdict(
            invariant=finding.rule.invariant,
            rule=finding.rule.name,
            sentence=finding.rule.sentence,
            judge=OURS,
            checked=finding.checked,
            count=finding.count,
            violations=tuple((violation.id, violation.problem) for violation in finding.violations),
        )
        for finding in findings
    ]


async def _second_judge(*, database_url: str, sandbox_url: str, control_key: str) -> list[Verdict]:
    judgement = await judge_by_ledger(database_url=database_url, sandbox_url=sandbox_url, control_key=control_key)
    verdicts = []
    for rule, sentence in SENTENCES.items():
        broken = [(found.payment_id, found.problem) for found in judgement.broken if found.rule == rule]
        verdicts.append(
            Verdict(
                invariant=rule if rule != "unknown" else "–",
                rule=rule,
                sentence=sentence,
                judge=PROVIDERS,
                checked=judgement.checked[rule],
                count=len(broken),
                violations=tuple(broken[:SHOWN]),
            )
        )
    return verdicts


async def _judge_of_net(*, database_url: str, sandbox_url: str, control_key: str) -> list[Verdict]:
    found = await net.judge_net(database_url=database_url, sandbox_url=sandbox_url, control_key=control_key)
    departures = tuple((each.place, each.problem) for each in found.departures)
    return [
        Verdict(
            invariant="I15",
            rule="net",
            sentence=net.SENTENCE,
            judge=PROVIDERS,
            checked=found.checked,
            count=len(departures),
            violations=departures[:SHOWN],
        )
    ]


async def _judge_of_sums(*, database_url: str, sandbox_url: str | None, control_key: str) -> list[Verdict]:
    found = await sums.judge_sums(database_url=database_url, sandbox_url=sandbox_url, control_key=control_key)
    verdicts = []
    for rule, checked in found.checked.items():
        differing = [(each.place, each.problem) for each in found.differences if each.rule == rule]
        verdicts.append(
            Verdict(
                invariant="–",
                rule=rule,
                sentence=sums.SENTENCES[rule],
                judge=ALL_BOOKS,
                checked=checked,
                count=len(differing),
                violations=tuple(differing[:SHOWN]),
            )
        )
    return verdicts
