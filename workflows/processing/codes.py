"""Events, final statuses and reasons that the outcome of a step can have, for payments and refunds alike.

A payment takes all of them under these names (``payments.states``); a refund translates two (``refunds.process``).
"""

from enum import StrEnum


class Event(StrEnum):
    """An event that ends the processing of a row, under the name it has in the history of a payment."""

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
