"""What to ask next: every row of the table."""

from collections.abc import Iterator

import pytest

from tests.unit.workflows.situations import OUTCOMES, facts
from workflows.payments.next_step import NOTHING_MOVED, Step, next_step


def expected_step(outcome: str | None, *, sent: bool, cancelled: bool, expired: bool, local: bool) -> Step:
    """The table of next steps, spelled out once more from behaviour §5."""
    unwanted = cancelled or expired
    if not sent or outcome in ("unavailable", "declined"):
        return Step.CANCEL if unwanted else Step.CHARGE
    if local:
        return Step.CHARGE
    if cancelled or (expired and outcome == "action_required"):
        return Step.WITHDRAW
    return Step.RESEND if outcome == "not_found" else Step.ASK


def every_situation() -> Iterator[tuple[str | None, bool, bool, bool, bool]]:
    for cancelled in (False, True):
        for expired in (False, True):
            for local in (False, True):
                yield None, False, cancelled, expired, local
                for outcome in OUTCOMES:
                    yield outcome, True, cancelled, expired, local


@pytest.mark.parametrize(("outcome", "sent", "cancelled", "expired", "local"), list(every_situation()))
def test_every_last_attempt_has_one_next_step(
    *, outcome: str | None, sent: bool, cancelled: bool, expired: bool, local: bool
) -> None:
    situation = facts(outcome, sent=sent, cancelled=cancelled, expired=expired, local=local)
    assert next_step(situation) is expected_step(outcome, sent=sent, cancelled=cancelled, expired=expired, local=local)


def test_an_unanswered_attempt_is_asked_about_and_never_sent_again() -> None:
    for outcome in (None, "unknown", "succeeded", "withdrawn", "action_required"):
        assert next_step(facts(outcome)) is Step.ASK


def test_only_what_certainly_moved_nothing_allows_a_new_attempt() -> None:
    assert {"unavailable", "declined"} == NOTHING_MOVED
