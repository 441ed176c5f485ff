"""The statuses of a payment and the transitions between them.

``PAYMENT`` is the only source of both: ``apply`` reads the next status from it, and the CHECK constraint, the trigger, the
diagram in docs/ and the exhaustive tests are rendered from it. To change how payments behave, change this table first.
"""

from enum import StrEnum

from workflows.state_machine import StateMachine, Transition


class PaymentStatus(StrEnum):
    PENDING = "pending"  # recorded; no provider has heard of it
    PROCESSING = "processing"  # claimed; a provider may have heard of it
    COMPLETED = "completed"  # a provider confirmed that the money moved
    FAILED = "failed"  # a provider confirmed that no money moved
    CANCELLED = "cancelled"  # withdrawn, and known not to have moved money
    REFUNDED = "refunded"  # some or all of it was refunded


class PaymentEvent(StrEnum):
    CLAIM = "claim"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    REFUND = "refund"


class PaymentRemark(StrEnum):
    ASK_CUSTOMER = "ask_customer"  # there is something to show: next_action
    DOUBT = "doubt"  # we do not know whether money moved
    REQUEST_CANCEL = "request_cancel"  # the terminal wants it withdrawn
    REQUEST_REVIEW = "request_review"  # a person has to look
    REFUND_MORE = "refund_more"  # a further part of a refunded payment was refunded
    REQUEUE = "requeue"  # an operator has it looked at again after it was quarantined
    REVIEWED = "reviewed"  # what a person had to look at is explained


PAYMENT = StateMachine(
    name="payment",
    initial=(PaymentStatus.PENDING,),
    transitions=(
        Transition(PaymentStatus.PENDING, PaymentEvent.CLAIM, PaymentStatus.PROCESSING),
        Transition(PaymentStatus.PROCESSING, PaymentEvent.COMPLETE, PaymentStatus.COMPLETED),
        Transition(PaymentStatus.PROCESSING, PaymentEvent.FAIL, PaymentStatus.FAILED),
        Transition(PaymentStatus.PROCESSING, PaymentEvent.CANCEL, PaymentStatus.CANCELLED),
        Transition(PaymentStatus.COMPLETED, PaymentEvent.REFUND, PaymentStatus.REFUNDED),
    ),
    remarks=tuple(PaymentRemark),
)


class Advice(StrEnum):
    """Instructions for a terminal while the outcome is unknown."""

    DO_NOT_CHARGE_AGAIN = "do_not_charge_again"  # money may have moved: wait, neither charge again nor by other means


class CancelOutcome(StrEnum):
    """The result of a requested cancel. The statement in ``record`` writes the same values."""

    CANCELLED = "cancelled"  # withdrawn; no money moved
    TOO_LATE = "too_late"  # the money had moved already
    FAILED = "failed"  # the payment had failed already; no money moved


class AttemptOutcome(StrEnum):
    """The meaning of a provider's answer to an attempt. A CHECK constraint has the same values."""

    SUCCEEDED = "succeeded"  # the money moved
    DECLINED = "declined"  # no money moved
    ACTION_REQUIRED = "action_required"  # the provider accepted it and waits
    UNAVAILABLE = "unavailable"  # certainly nothing happened
    UNKNOWN = "unknown"  # money may have moved
    WITHDRAWN = "withdrawn"  # withdrawn at the provider; no money moved
    NOT_FOUND = "not_found"  # proven not to have arrived


class MessageKind(StrEnum):
    """The reason why a provider's answer was stored in addition to the attempt's own answer.

    A CHECK constraint has the same values.
    """

    INQUIRY = "inquiry"  # the provider was asked what became of the attempt
    WITHDRAWAL = "withdrawal"  # the provider was asked to cancel the attempt
    REVERSAL = "reversal"  # the provider was asked to undo the charge
    FIRST_ANSWER = "first_answer"  # the answer before the same attempt was sent again
    RESEND = "resend"  # the attempt was sent again
    LATE_ANSWER = "late_answer"  # an answer that came after another worker had taken over
    LATE_SUCCESS = "late_success"  # evidence of success for a payment that had failed or was cancelled
