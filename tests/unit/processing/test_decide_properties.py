"""Hypothesis finds no sequence of answers, crashes, cancels and delays that charges twice or forgets an unknown outcome.

The payment is a model of what ``leases`` and ``record`` write; the decisions are those of the real ``decide``.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.payments.states import PaymentStatus
from workflows.processing.decide import MAX_RETRIES, RetryPolicy, decide
from workflows.processing.decision import Decision, FinalStatus
from workflows.processing.leases import attempt_number
from workflows.processing.next_step import SENDS, Attempt, Facts, Step, next_step
from workflows.providers.base import (
    ActionRequired,
    Answer,
    Declined,
    NotFound,
    Succeeded,
    Unavailable,
    Unknown,
    Withdrawn,
)

BEGIN = datetime(2026, 11, 23, tzinfo=UTC)
MAX_PROCESSING_SECONDS = 60.0


@dataclass
class Model:
    """A payment as the database stores it, and what may have happened at the provider."""

    facts: Facts
    status: PaymentStatus | FinalStatus = PaymentStatus.PROCESSING
    sends: list[int] = field(default_factory=list)
    """The attempt number of each charge that was sent."""
    unsettled: set[int] = field(default_factory=set)
    """Attempts that may have moved money, and have no certain answer."""
    is_stopped: bool = False
    """The payment is not processed again until a person has reviewed it."""
    not_founds: list[datetime] = field(default_factory=list)
    resent_after: list[list[datetime]] = field(default_factory=list)

    def step(self, answer: Answer | None, *, policy: RetryPolicy) -> None:
        """Process one claim; ``answer`` is ``None`` if the worker dies before it receives one."""
        step = next_step(self.facts)
        number = attempt_number(step, self.facts.attempt)
        proof = self.not_founds
        if step in SENDS:
            assert not self.facts.is_expired, "sent after its expiry"
            self._send(step, number)
            if isinstance(answer, NotFound | Withdrawn):
                answer = Unknown("only questions are answered so")
            elif step is Step.RESEND and isinstance(answer, Unavailable):
                self.not_founds = proof  # this call did not arrive, so the proof about the previous call remains valid
        if step is Step.CANCEL:
            self._record(step, None, number, policy)
        elif answer is not None:
            self._settle(step, answer, number)
            self._record(step, answer, number, policy)

    def _send(self, step: Step, number: int) -> None:
        is_new = self.facts.attempt is None or number != self.facts.attempt.number
        if is_new:
            assert not self.unsettled, f"attempt {number} while {self.unsettled} may have moved money"
        else:
            assert step in (Step.RETRY, Step.RESEND), "the same reference again without proof"
            if step is Step.RESEND:
                self.resent_after.append(self.not_founds)
            else:
                assert number not in self.unsettled, "a retry of a call that may have moved money"
        self.sends.append(number)
        self.unsettled.add(number)
        self.not_founds = []
        before = self.facts.attempt.resends if self.facts.attempt else 0
        self.facts = replace(self.facts, attempt=Attempt(number, None, resends=before + (not is_new)))

    def _settle(self, step: Step, answer: Answer, number: int) -> None:
        certain = isinstance(answer, Declined | Withdrawn | Succeeded)
        if certain or (step in (Step.CHARGE, Step.RETRY) and isinstance(answer, Unavailable)):
            self.unsettled.discard(number)
        if isinstance(answer, NotFound):
            self.not_founds.append(self.facts.now)
        elif isinstance(answer, ActionRequired):
            self.not_founds = []

    def _record(self, step: Step, answer: Answer | None, number: int, policy: RetryPolicy) -> None:
        found = decide(step, answer, facts=self.facts, policy=policy)
        self.status = found.status or self.status
        attempt = self.facts.attempt
        if attempt and found.attempt_outcome and step is not Step.CANCEL:
            first = self._first_not_found(found, attempt)
            attempt = Attempt(number, found.attempt_outcome, first, attempt.resends)
        self.facts = replace(
            self.facts,
            attempt=attempt,
            outcome_known=found.outcome_known,
            in_doubt_since=None if found.outcome_known else self.facts.in_doubt_since or self.facts.now,
            needs_review=found.needs_review,
            inquiries=0 if found.outcome_known else found.inquiries or 0,
        )
        self.is_stopped = found.due_in_seconds is None
        waits = found.due_in_seconds or 0
        self.facts = replace(self.facts, now=self.facts.now + timedelta(seconds=waits))

    def _first_not_found(self, found: Decision, attempt: Attempt) -> datetime | None:
        return (attempt.not_found_at or self.facts.now) if found.not_found else None


# Answers that leave the outcome unknown are drawn more often, because the search is about unknown outcomes.
OPEN: tuple[Answer | None, ...] = (None, Unknown("?"), Unavailable("503"), ActionRequired(None))
CLOSING: tuple[Answer, ...] = (
    Succeeded(1_000),
    Succeeded(7),
    Declined("no"),
    Withdrawn(),
    Declined("busy", is_retriable=True),
)
answers = st.sampled_from([*OPEN * 2, *[NotFound()] * 10, Declined("busy", is_retriable=True), *CLOSING])
pauses = st.sampled_from([0.0, 1.0, 59.0, 61.0, 7_200.0])
turns = st.lists(st.tuples(answers, pauses, st.integers(0, 19)), min_size=4, max_size=25)


@settings(max_examples=250)
@given(turns=turns, deduplicates=st.booleans())
def test_no_sequence_of_answers_leads_to_a_new_attempt_after_an_unknown_outcome(
    turns: list[tuple[Answer | None, float, int]], deduplicates: bool
) -> None:
    policy = RetryPolicy(MAX_PROCESSING_SECONDS, 86_400, spread=lambda: 1.0)
    expires_at = BEGIN + timedelta(minutes=5)
    unsent = Facts(1_000, BEGIN, expires_at, cancel_requested=False, is_local=False, attempt=None)
    model = Model(replace(unsent, deduplicates=deduplicates))
    for answer, pause, whim in turns:
        if model.is_stopped:
            break
        if whim == 0:
            model.facts = replace(model.facts, cancel_requested=True)
        model.step(answer, policy=policy)
        model.facts = replace(model.facts, now=model.facts.now + timedelta(seconds=pause))
    if model.status in (FinalStatus.FAILED, FinalStatus.CANCELLED):
        assert not model.unsettled, "ended although money may have moved"
    assert len(set(model.sends)) <= 1 + MAX_RETRIES
    assert model.sends == sorted(model.sends)
    assert deduplicates or not model.resent_after
    for proof in model.resent_after:
        assert len(proof) >= 2
        assert proof[-1] - proof[0] >= timedelta(seconds=MAX_PROCESSING_SECONDS)
