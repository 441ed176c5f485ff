"""The statuses of a refund and the transitions between them."""

from enum import StrEnum

from workflows.state_machine import StateMachine, Transition


class RefundStatus(StrEnum):
    PENDING = "pending"  # recorded, its amount reserved; no provider has heard of it
    PROCESSING = "processing"  # claimed; a provider may have heard of it
    COMPLETED = "completed"  # a provider confirmed that the money went back
    FAILED = "failed"  # a provider confirmed that nothing went back; the reservation is released


class RefundEvent(StrEnum):
    CLAIM = "claim"
    COMPLETE = "complete"
    FAIL = "fail"


class RefundRemark(StrEnum):
    AWAIT_PROVIDER = "await_provider"  # the provider accepted it and needs time
    DOUBT = "doubt"  # we do not know whether money went back
    REQUEST_REVIEW = "request_review"  # a person has to look
    AWAIT_ACTION = "await_action"  # a person has to give the money back and report it
    REPORT = "report"  # the terminal reported whether the money was refunded
    REQUEUE = "requeue"  # an operator has it looked at again after it was quarantined
    REVIEWED = "reviewed"  # what a person had to look at is explained


REFUND = StateMachine(
    name="refund",
    initial=(RefundStatus.PENDING,),
    transitions=(
        Transition(RefundStatus.PENDING, RefundEvent.CLAIM, RefundStatus.PROCESSING),
        Transition(RefundStatus.PROCESSING, RefundEvent.COMPLETE, RefundStatus.COMPLETED),
        Transition(RefundStatus.PROCESSING, RefundEvent.FAIL, RefundStatus.FAILED),
    ),
    remarks=tuple(RefundRemark),
)
