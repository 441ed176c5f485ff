"""Values of a payment's coded fields, except its status."""

from enum import StrEnum


class Advice(StrEnum):
    """Instructions for a terminal while the outcome is unknown."""

    DO_NOT_CHARGE_AGAIN = "do_not_charge_again"  # money may have moved: wait, neither charge again nor by other means


class CancelOutcome(StrEnum):
    """The result of a requested cancel; the statement in ``record`` writes the same values."""

    CANCELLED = "cancelled"  # withdrawn; no money moved
    TOO_LATE = "too_late"  # the money had moved already
    FAILED = "failed"  # the payment had failed already; no money moved


class AttemptOutcome(StrEnum):
    """The meaning of a provider's answer to an attempt; a CHECK constraint has the same values."""

    SUCCEEDED = "succeeded"  # the money moved
    DECLINED = "declined"  # no money moved
    ACTION_REQUIRED = "action_required"  # the provider accepted it and waits
    UNAVAILABLE = "unavailable"  # certainly nothing happened
    UNKNOWN = "unknown"  # money may have moved
    WITHDRAWN = "withdrawn"  # withdrawn at the provider; no money moved
    NOT_FOUND = "not_found"  # proven not to have arrived


class MessageKind(StrEnum):
    """Why a provider's answer was stored beside an attempt; a CHECK constraint has the same values."""

    INQUIRY = "inquiry"  # the provider was asked what became of the attempt
    WITHDRAWAL = "withdrawal"  # the provider was asked to cancel the attempt
    REVERSAL = "reversal"  # the provider was asked to undo the charge
    FIRST_ANSWER = "first_answer"  # the answer before the same attempt was sent again
    RESEND = "resend"  # the attempt was sent again
    LATE_ANSWER = "late_answer"  # an answer that came after another worker had taken over
    LATE_SUCCESS = "late_success"  # evidence of success for a payment that had failed or was cancelled
