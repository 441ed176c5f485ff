"""The demonstration's last sentence tells apart a broken rule, a slow machine, an unchecked rule and a bug of its own."""

import dataclasses
from collections import Counter

import pytest

from mpac.audit.balance_audit import SENTENCES as OF_SUMS
from mpac.audit.payment_audit import SENTENCES as OF_PAYMENTS
from mpac.audit.report import AuditReport, RuleResult, RuleState, as_problems
from mpac.cli.unfinished_work import GROUPS, UnfinishedWork
from mpac.demo.chapters import CHAPTERS, NOT_EXERCISED
from mpac.demo.chapters.payments import compare
from mpac.demo.problems import Problem, ProblemKind, broken_promise, demo_failure, lateness
from mpac.demo.result import ResultKind, conclude, merge_results
from workflows.invariants.rules import RULES

HELD = RuleResult("I1", "attempts", "Each attempt follows one.", "our database", 7, 0, ())
IDLE = RuleResult("I9", "bound", "Every open payment is within its bound.", "our database", 0, 0, ())
BROKEN = RuleResult("I3", "dead", "No failed payment was charged.", "the provider", 7, 1, (("pay_1", "charged"),))
NOTHING_WAITS = UnfinishedWork({name: [] for name in GROUPS}, 0, 0.0)


def audit(*results: RuleResult) -> AuditReport:
    return AuditReport(list(results), {"payments": 7}, NOTHING_WAITS)


def test_everything_is_proven_if_every_rule_holds_and_checked_something() -> None:
    result = conclude([], [audit(HELD)], exercises=["attempts"])
    assert result.kind is ResultKind.PROVEN
    assert "nothing was lost" in result.sentence


def test_a_broken_rule_is_named_before_any_other_problem() -> None:
    problems = [lateness("pay_2 was not final", counted="payment"), demo_failure("a sale broke off")]
    result = conclude(problems, [audit(HELD, IDLE, BROKEN)], exercises=["bound"])
    assert result.kind is ResultKind.BROKEN
    assert result.sentence == "A rule was broken: I3 (No failed payment was charged.)"


def test_a_rule_that_was_broken_only_temporarily_counts_as_broken() -> None:
    healed = dataclasses.replace(BROKEN, count=0, violations=())
    assert conclude([], [audit(BROKEN), audit(healed)], exercises=[]).kind is ResultKind.BROKEN


def test_a_broken_promise_seen_by_a_terminal_is_named() -> None:
    result = conclude([broken_promise("a double tap made two payments")], [audit(HELD)], exercises=[])
    assert (result.kind, result.sentence) == (ResultKind.BROKEN, "A rule was broken: a double tap made two payments")


def test_a_busy_machine_is_reported_with_the_unfinished_work_and_no_claim_about_rules() -> None:
    problems = [
        *(lateness(f"pay_{number}", counted="payment") for number in range(5)),
        lateness("a sale", counted="sale"),
        lateness("a day", counted="settlement"),
        lateness("a worker", counted="process"),
        lateness("another", counted="process"),
    ]
    result = conclude(problems, [audit(HELD, IDLE)], exercises=["bound"])
    assert result.kind is ResultKind.LATE
    said = "This machine was too busy: 5 payments, 1 sale, 1 settlement and 2 processes did not finish in time"
    assert result.sentence.startswith(said)
    assert "broken" not in result.sentence
    assert "proven" not in result.sentence


def test_a_bug_of_the_demonstration_is_reported_as_its_own_failure() -> None:
    result = conclude([demo_failure("422"), lateness("pay_1", counted="payment")], [audit(HELD)], exercises=[])
    assert (result.kind, result.sentence) == (
        ResultKind.FAILED,
        "The demonstration itself failed, so it proves nothing: 422",
    )


def test_a_required_rule_that_checked_nothing_leaves_the_result_not_proven() -> None:
    result = conclude([], [audit(HELD, IDLE)], exercises=["attempts", "bound"])
    assert result.kind is ResultKind.NOT_PROVEN
    assert "had nothing to check (1): I9" in result.sentence
    assert "Every open payment is within its bound" in result.sentence


def test_a_rule_is_proven_if_any_audit_checked_something() -> None:
    seen = dataclasses.replace(IDLE, checked=3)
    assert conclude([], [audit(seen), audit(IDLE)], exercises=["bound"]).kind is ResultKind.PROVEN
    assert [result.checked for result in merge_results([audit(seen), audit(IDLE)])] == [3]


def test_a_rule_that_no_chapter_exercises_may_check_nothing() -> None:
    assert conclude([], [audit(HELD, IDLE)], exercises=["attempts"]).kind is ResultKind.PROVEN


def test_every_ending_has_a_distinct_exit_code() -> None:
    assert [kind.value for kind in ResultKind] == [0, 1, 3, 5, 70]  # 2: wrong usage, 4: it could not be played


@pytest.mark.parametrize(
    ("result", "state"), [(HELD, RuleState.HOLDS), (IDLE, RuleState.NOTHING), (BROKEN, RuleState.BROKEN)], ids=str
)
def test_the_state_of_a_rule_follows_from_its_checks_and_violations(result: RuleResult, state: RuleState) -> None:
    assert result.state is state
    assert dataclasses.replace(BROKEN, checked=0).state is RuleState.BROKEN  # the evidence may be in another table


def test_a_broken_rule_is_printed_with_its_sentence_and_violations() -> None:
    assert as_problems([HELD, BROKEN, IDLE]) == [
        "I3 is broken, by the provider: No failed payment was charged.",
        "I3 pay_1: charged",
    ]


def test_every_rule_is_exercised_by_one_chapter_or_listed_with_a_reason() -> None:
    chapters = [chapter for row in CHAPTERS for chapter in row]
    named = Counter(rule for chapter in chapters for rule in chapter.exercises) + Counter(NOT_EXERCISED.keys())
    assert named == Counter([*(rule.name for rule in RULES), *OF_PAYMENTS, "net", *OF_SUMS])


def test_a_sale_whose_request_was_never_answered_may_be_stored_or_not() -> None:
    stored = {"a": (1, "pay_a"), "b": (1, "pay_b")}
    assert compare(sold={"a": "pay_a"}, stored=stored, unanswered={"b", "c"}) == []


def test_a_missing_duplicated_or_unknown_sale_is_a_broken_promise() -> None:
    stored = {"a": (2, "pay_a"), "b": (1, "pay_b")}
    found = compare(sold={"a": "pay_a", "c": "pay_c"}, stored=stored, unanswered=set())
    assert {problem.kind for problem in found} == {ProblemKind.BROKEN}
    assert found == [
        Problem(ProblemKind.BROKEN, "pay_c was answered 201 and is not in the database"),
        Problem(ProblemKind.BROKEN, "the sale a made 2 payments"),
        Problem(ProblemKind.BROKEN, "pay_b is in the database and no terminal knows it"),
    ]
