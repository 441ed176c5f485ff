"""Decide how the demonstration ended: its result, the last sentence and the exit code.

| result     | exit code | when                                                                                          |
|------------|-----------|-----------------------------------------------------------------------------------------------|
| PROVEN     | 0         | no rule is broken, each rule that must be exercised checked something, everything finished    |
| BROKEN     | 1         | a rule or a promise is broken, whatever else happened                                         |
| LATE       | 3         | something did not finish in time: that concerns this machine, not money                       |
| NOT_PROVEN | 5         | a rule that the chapters must exercise had nothing to check                                   |
| FAILED     | 70        | an error of the demonstration, or an answer that it did not expect                            |
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum

from mpac.audit.report import AuditReport, RuleResult, RuleState
from mpac.cli import exit_codes
from mpac.demo.problems import Problem, ProblemKind

RULES_NAMED = 3  # in the last sentence; all of them are printed above it


class ResultKind(IntEnum):
    """The kinds of result, as exit codes. 2 is for wrong usage, and 4 for a stack that could not be started."""

    PROVEN = exit_codes.HOLDS
    BROKEN = exit_codes.BROKEN
    LATE = exit_codes.UNSURE
    NOT_PROVEN = exit_codes.NOT_PROVEN
    FAILED = exit_codes.BUG


STYLES = {ResultKind.PROVEN: "bold green", ResultKind.LATE: "bold yellow", ResultKind.NOT_PROVEN: "bold yellow"}
"""Colours of the last sentence; it is red for all other results."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """How the demonstration ended, and the last sentence."""

    kind: ResultKind
    sentence: str

    @property
    def style(self) -> str:
        """The colour in which the demonstration's last sentence is printed."""
        return STYLES.get(self.kind, "bold red")


def conclude(problems: Sequence[Problem], audits: Sequence[AuditReport], *, exercises: Collection[str]) -> DemoResult:
    """Return the result. ``exercises`` names the rules that the chapters had to exercise."""
    results = merge_results(audits)
    broken = [f"{result.invariant} ({result.sentence})" for result in results if result.count]
    broken += [problem.sentence for problem in problems if problem.kind is ProblemKind.BROKEN]
    failures = [problem.sentence for problem in problems if problem.kind is ProblemKind.FAILED]
    unfinished = [problem for problem in problems if problem.kind is ProblemKind.LATE]
    idle = [result for result in results if result.rule in exercises and result.state is RuleState.NOTHING]
    if broken:
        return DemoResult(ResultKind.BROKEN, f"A rule was broken: {_first_few(broken)}")
    if failures:
        return DemoResult(
            ResultKind.FAILED, f"The demonstration itself failed, so it proves nothing: {_first_few(failures)}"
        )
    if unfinished:
        return DemoResult(
            ResultKind.LATE,
            f"This machine was too busy: {_count_text(unfinished)} did not finish in time (see above). So nothing is known "
            "about money, neither good nor bad. Run it again when the machine is less busy, or with fewer --terminals. If the "
            "machine is idle, a process hangs: its output is in the logs folder.",
        )
    if idle:
        said = _first_few([f"{result.invariant} ({result.sentence})" for result in idle])
        return DemoResult(
            ResultKind.NOT_PROVEN,
            f"Not proven: rules that this story must exercise had nothing to check ({len(idle)}): {said}. "
            "Run it with more --seconds or --terminals.",
        )
    return DemoResult(
        ResultKind.PROVEN,
        "All auditors agree: nothing was lost, nothing was charged twice, and every payment is final.",
    )


def merge_results(audits: Sequence[AuditReport]) -> list[RuleResult]:
    """Return the worst result of each rule over all audits.

    That is the result with the most violations; if no audit found any, the one with the most checks.
    """
    found: dict[tuple[str, str], RuleResult] = {}
    for audit in audits:
        for result in audit.results:
            key = (result.auditor, result.rule)
            known = found.get(key, result)
            found[key] = max(known, result, key=lambda result: (result.count, result.checked))
    order = {(result.auditor, result.rule): place for place, result in enumerate(audits[-1].results if audits else [])}
    return [found[key] for key in sorted(found, key=lambda key: order.get(key, len(order)))]


def _first_few(sentences: list[str]) -> str:
    more = len(sentences) - RULES_NAMED
    return "; ".join(sentences[:RULES_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _count_text(problems: list[Problem]) -> str:
    """Return for instance "3 sales, 5 payments and 1 settlement"."""
    parts = [
        f"{count} {noun if count == 1 else _plural(noun)}"
        for noun, count in Counter(problem.counted for problem in problems).items()
    ]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
