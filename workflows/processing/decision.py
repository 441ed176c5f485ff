"""Define the result of a step: the event, the status and the columns to record, for payments and refunds.

A payment takes the events and remarks under these names (``payments.states``); a refund translates two (``refunds.record``).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Event(StrEnum):
    """An event that ends the processing of a row."""

    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"


class Remark(StrEnum):
    """A remark that a step can leave on a row that is still being processed."""

    ASK_CUSTOMER = "ask_customer"
    DOUBT = "doubt"
    REQUEST_REVIEW = "request_review"


class FinalStatus(StrEnum):
    """The status that an ``Event`` leads to."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CancelReason(StrEnum):
    """The ``cancel_reason`` of a cancelled payment, unless the caller that cancelled it gave another one."""

    REQUESTED = "requested"  # cancelled by a caller that gave no reason
    EXPIRED = "expired"  # not started or not paid in time
    WITHDRAWN_BY_PROVIDER = "withdrawn_by_provider"  # the provider withdrew it


@dataclass(slots=True)
class Decision:
    """The result of a step: an event and the columns that change with it.

    ``event`` is ``None`` if the row does not get a new version. ``due_in_seconds`` is when the row is due again, ``None`` if
    it never is. An ``attempt_outcome`` of ``None`` leaves the attempt unchanged.
    """

    event: Event | Remark | None = None
    status: FinalStatus | None = None
    due_in_seconds: float | None = None
    attempt_outcome: str | None = None
    code: str | None = None
    message: str | None = None
    outcome_known: bool = True
    needs_review: bool = False
    next_action: dict[str, Any] | None = None
    provider_reference: str | None = None
    approval_code: str | None = None
    card_brand: str | None = None
    card_last_4: str | None = None
    fee: int = 0
    """The provider's fee, in minor units."""
    preserve_action: bool = False
    """Whether ``next_action``, which the customer is shown, remains unchanged."""
    not_found: bool = False
    """Whether the inquiry found nothing. The time of the first such answer is stored, to compare the second with it."""
    inquiries: int | None = None
    """The position in the schedule of inquiries about an unknown outcome; ``None`` leaves it unchanged."""
