"""Verdict: what an answer means for a refund, which is what it would mean for a payment, in a refund's own words.

| ``payments.verdict``| because the provider says           | for a refund                                     |
|---------------------|-------------------------------------|---------------------------------------------------|
| ``ask_customer``    | that it took it on and needs time   | ``await_provider``: no customer has to do anything |
| ``cancel``          | that nothing moved and never will   | ``fail``, its only end without money              |
| anything else       |                                     | the same word                                     |
"""

from workflows.processing.codes import Event, Remark
from workflows.processing.decide import Verdict
from workflows.refunds.states import RefundEvent, RefundRemark, RefundStatus

EVENTS = {Remark.ASK_CUSTOMER: RefundRemark.AWAIT_PROVIDER, Event.CANCEL: RefundEvent.FAIL}
ENDS = {RefundEvent.COMPLETE: RefundStatus.COMPLETED, RefundEvent.FAIL: RefundStatus.FAILED}
OUTCOMES = {"withdrawn": "declined"}  # an attempt to give back is answered, never withdrawn


def in_our_words(verdict: Verdict) -> dict[str, str | None]:
    """``event``, ``status`` and ``attempt_outcome`` of the refund; ``None`` where nothing is worth one."""
    event = None if verdict.event is None else str(EVENTS.get(verdict.event, verdict.event))
    outcome = verdict.attempt_outcome
    return {
        "event": event,
        "status": next((str(status) for end, status in ENDS.items() if end == event), None),
        "attempt_outcome": OUTCOMES.get(outcome, outcome) if outcome else None,
    }
