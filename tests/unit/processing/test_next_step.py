"""Test every row of the table that chooses the next step."""

from collections.abc import Iterator

import pytest

from tests.unit.processing.situations import OUTCOMES, facts
from workflows.processing.next_step import NOTHING_MOVED, Step, next_step


def expected_step(outcome: str | None, *, sent: bool, cancelled: bool, expired: bool, local: bool) -> Step:
    """Return the next step for a provider that deduplicates.

    This is the table of behaviour §5, written a second time.
    """
    unwanted = cancelled or expired
    if local:
        return Step.CHARGE  # the sale has already happened: it never expires and is never withdrawn
    if not sent or outcome in ("unavailable", "declined"):
        again = Step.RETRY if sent and outcome == "unavailable" else Step.CHARGE
        return Step.CANCEL if unwanted else again
    if cancelled:
        return Step.REVERSE if outcome == "succeeded" else Step.WITHDRAW
    if expired and outcome in ("action_required", "not_found"):
        return Step.WITHDRAW
    return Step.RESEND if outcome == "not_found" else Step.INQUIRE


def every_situation() -> Iterator[tuple[str | None, bool, bool, bool, bool]]:
    for cancelled in (False, True):
        for expired in (False, True):
            for local in (False, True):
                yield None, False, cancelled, expired, local
                for outcome in OUTCOMES:
                    yield outcome, True, cancelled, expired, local


@pytest.mark.parametrize(("outcome", "sent", "cancelled", "expired", "local"), list(every_situation()))
def test_every_state_of_the_last_attempt_has_one_next_step(
    *, outcome: str | None, sent: bool, cancelled: bool, expired: bool, local: bool
) -> None:
    situation = facts(outcome, sent=sent, cancelled=cancelled, expired=expired, local=local)
    assert next_step(situation) is expected_step(outcome, sent=sent, cancelled=cancelled, expired=expired, local=local)


def test_unanswered_attempt_leads_to_an_inquiry_and_never_to_another_call() -> None:
    for outcome in (None, "unknown", "succeeded", "withdrawn", "action_required"):
        assert next_step(facts(outcome)) is Step.INQUIRE


def test_only_an_attempt_that_certainly_moved_nothing_allows_a_new_one() -> None:
    assert {"unavailable", "declined"} == NOTHING_MOVED


SENDING = (Step.CHARGE, Step.RETRY, Step.RESEND)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("deduplicates", [True, False])
def test_nothing_is_sent_to_a_provider_after_the_payment_expired(outcome: str | None, *, deduplicates: bool) -> None:
    assert next_step(facts(outcome, expired=True, deduplicates=deduplicates)) not in SENDING
    assert next_step(facts(sent=False, expired=True, deduplicates=deduplicates)) not in SENDING


def test_a_provider_without_deduplication_gets_a_new_reference_after_a_call_that_did_nothing() -> None:
    assert next_step(facts("unavailable", deduplicates=False)) is Step.CHARGE
    assert next_step(facts("unavailable")) is Step.RETRY


def test_a_new_reference_follows_a_retriable_decline_at_every_provider() -> None:
    for deduplicates in (True, False):
        assert next_step(facts("declined", deduplicates=deduplicates)) is Step.CHARGE


def test_provider_without_deduplication_gets_an_inquiry_instead_of_a_resend() -> None:
    assert next_step(facts("not_found", deduplicates=False)) is Step.INQUIRE
