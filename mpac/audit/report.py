"""The proof: what all auditors find, in one list, for `mpac invariants` and for the end of a demonstration.

The auditors share nothing with the product. They meet only here, where their verdicts are put beside each other, with
how much they looked at (``Proof.looked_at``) and what is still open (``mpac.cli.open_work``): a rule that had nothing
to check proves nothing, and neither broken nor unbroken rules say that every outcome is known.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from rich.table import Table

from mpac.audit import net, sums
from mpac.audit.provider import SENTENCES, judge_by_ledger
from mpac.cli.errors import Trouble
from mpac.cli.open_work import Waiting, waiting_in

OURS = "our database"
PROVIDERS = "the provider's own ledger"
ALL_BOOKS = "all books, added up"
SHOWN = 20  # violations told one by one, per rule
MOVEMENTS = "provider movements"


class State(StrEnum):
    """What is known of a rule."""

    HOLDS = "holds"
    BROKEN = "broken"
    NOTHING = "nothing to check"


COLOURS = {State.HOLDS: "green", State.BROKEN: "red", State.NOTHING: "yellow"}


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

    @property
    def state(self) -> State:
        """Whether the rule is broken, holds, or looked at nothing."""
        return State.BROKEN if self.count else State.HOLDS if self.checked else State.NOTHING


@dataclass(frozen=True, slots=True)
class Proof:
    """All verdicts. ``looked_at``: how many rows and movements of each kind there were; ``waiting``: what is not over.

    ``unchecked`` are sentences about books that could not be read, whose rules are missing here.
    """

    verdicts: list[Verdict]
    looked_at: dict[str, int]
    waiting: Waiting
    unchecked: tuple[str, ...] = ()

    def rules(self, state: State) -> list[Verdict]:
        """Return the verdicts of one state."""
        return [verdict for verdict in self.verdicts if verdict.state is state]

    def in_a_sentence(self) -> str:
        """Return how many rules hold, are broken, and had nothing to check."""
        holds, broken, nothing = (len(self.rules(state)) for state in State)
        said = f"{broken} of {len(self.verdicts)} rules are broken" if broken else "No rule is broken"
        return f"{said}: {holds} hold, {nothing} had nothing to check." if nothing else f"{said}: {holds} hold."

    def looked_at_in_a_sentence(self) -> str:
        """Return what the auditors looked at."""
        return f"Looked at: {', '.join(f'{name} {count:,}' for name, count in self.looked_at.items())}."


async def prove(*, sandbox_url: str, control_key: str) -> Proof:
    """Have all auditors check everything; the provider's ledger is read only where there is a sandbox provider.

    The product's variables must be in the environment. Raises ``Trouble`` if the database can't be read. If the provider's
    ledger can't, what our own books say is returned all the same.
    """
    verdicts, looked_at, waiting = await _first_judge()
    database_url = os.environ["MPAC_DATABASE_URL"]
    unchecked: list[str] = []
    if sandbox_url:
        ledger = {"database_url": database_url, "sandbox_url": sandbox_url, "control_key": control_key}
        try:
            of_payments, movements = await _second_judge(**ledger)
            verdicts += of_payments
            looked_at[MOVEMENTS] = movements
            verdicts += await _judge_of_net(**ledger)
            verdicts += await _judge_of_sums(**ledger)
        except Trouble as trouble:
            unchecked.append(str(trouble))
    if unchecked or not sandbox_url:
        verdicts += await _judge_of_sums(database_url=database_url, sandbox_url=None, control_key="")
    return Proof(verdicts, looked_at, waiting, tuple(unchecked))


def as_json(proof: Proof) -> dict[str, object]:
    """Return the same for machines."""
    return {
        "clean": not proof.rules(State.BROKEN),
        "states": {state.value: len(proof.rules(state)) for state in State},
        "looked_at": proof.looked_at,
        "unchecked": proof.unchecked,
        "waiting": proof.waiting.as_json(),
        "rules": [{**asdict(verdict), "state": verdict.state.value} for verdict in proof.verdicts],
    }


def as_table(verdicts: Sequence[Verdict]) -> Table:
    """Return the same for people."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("rule")
    table.add_column("checked", justify="right", no_wrap=True)
    table.add_column("result", no_wrap=True)
    judge = ""
    for verdict in verdicts:
        if verdict.judge != judge:
            judge = verdict.judge
            table.add_row("", f"by {judge}", style="bold cyan")
        result = f"broken {verdict.count:,} times" if verdict.count else verdict.state.value
        coloured = f"[{COLOURS[verdict.state]}]{result}[/{COLOURS[verdict.state]}]"
        table.add_row(verdict.invariant, verdict.sentence, f"{verdict.checked:,}", coloured)
    return table


def as_problems(verdicts: Sequence[Verdict]) -> list[str]:
    """Return one line for each broken rule, then for each violation of it that was told, and how many were not."""
    lines = []
    for verdict in verdicts:
        if verdict.count:
            lines.append(f"{verdict.invariant} is broken, by {verdict.judge}: {verdict.sentence}")
        lines += [f"{verdict.invariant} {entity}: {problem}" for entity, problem in verdict.violations]
        if verdict.count > len(verdict.violations):
            lines.append(f"{verdict.invariant} {verdict.rule}: {verdict.count - len(verdict.violations):,} more")
    return lines


async def _first_judge() -> tuple[list[Verdict], dict[str, int], Waiting]:
    # The product's imports take a second, which `mpac --help` must not.
    from sqlalchemy.exc import DBAPIError, ProgrammingError  # noqa: PLC0415

    from workflows.database.engines import Role, connect, disconnect  # noqa: PLC0415
    from workflows.errors import ServiceUnavailable  # noqa: PLC0415
    from workflows.invariants.check import audit_database  # noqa: PLC0415
    from workflows.ops.overview import take_overview  # noqa: PLC0415
    from workflows.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    connect(settings, roles=(Role.OWNER, Role.ACCEPT))
    try:
        audit = await audit_database(review_after_seconds=settings.review_after_seconds)
        waiting = waiting_in(await take_overview())
    except ServiceUnavailable as error:
        raise Trouble("The database does not answer: is it up? `python3 run.py status` tells.") from error
    except ProgrammingError as error:
        said = str(error.orig).partition("\n")[0]
        raise Trouble(
            f"The database can't be judged ({said}): is it at the newest schema? `python3 run.py migrate` sees to it."
        ) from error
    except DBAPIError as error:
        raise Trouble(f"The database can't be judged ({str(error.orig).partition(chr(10))[0]}).") from error
    finally:
        await disconnect()
    verdicts = [
        Verdict(
            invariant=finding.rule.invariant,
            rule=finding.rule.name,
            sentence=finding.rule.sentence,
            judge=OURS,
            checked=finding.checked,
            count=finding.count,
            violations=tuple((violation.id, violation.problem) for violation in finding.violations),
        )
        for finding in audit.findings
    ]
    return verdicts, audit.looked_at, waiting


async def _second_judge(*, database_url: str, sandbox_url: str, control_key: str) -> tuple[list[Verdict], int]:
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
    return verdicts, judgement.movements


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
