"""Examples of refunds for the OpenAPI document: one of each status and one in doubt, all of the same dish."""

from typing import Any

from workflows.refunds.queries import refund_fields
from workflows.refunds.states import RefundStatus

Table = dict[str, tuple[str, dict[str, Any]]]

_PENDING: dict[str, Any] = {
    "id": "rfd_019ab0c2d3e47f50a6b7c8d9e0f1a2c1",
    "payment_id": "pay_019ab0c2d3e47f50a6b7c8d9e0f1a2b3",
    "status": RefundStatus.PENDING,
    "version": 1,
    "amount": 300,
    "currency": "JPY",
    "reason": "the soup was cold",
    "staff_code": "s-7",
    "provider": "sandbox",
    "outcome_known": True,
    "needs_review": False,
    "needs_action": False,
    "store_id": "sto_019ab0c1a2b37c4d85e6f708192a3b4d",
    "merchant_id": "mer_019ab0c1a2b37c4d85e6f708192a3b4e",
    "metadata": {},
    "created_at": "2026-11-23T12:01:30.415Z",
}
_PROCESSING = {
    **_PENDING,
    "status": RefundStatus.PROCESSING,
    "version": 2,
    "processing_at": "2026-11-23T12:01:30.431Z",
}
_FINAL_AT = "2026-11-23T12:01:30.502Z"

REFUNDS: Table = {
    name: (said, refund_fields(row))
    for name, (said, row) in {
        "pending": ("Stored, and its amount reserved; a worker processes it in a moment", _PENDING),
        "needs action": (
            "A sale by the terminal's own card application: a person returns the money, then the terminal reports it",
            {**_PENDING, "version": 2, "provider": "external", "needs_action": True},
        ),
        "processing": ("A provider call is in progress", _PROCESSING),
        "in doubt": (
            "It is not known yet whether the money was returned; the amount stays reserved",
            {**_PROCESSING, "version": 3, "outcome_known": False},
        ),
        "completed": (
            "The money was returned",
            {
                **_PROCESSING,
                "status": RefundStatus.COMPLETED,
                "version": 3,
                "provider_reference": "sbx_91c27f3a",
                "completed_at": _FINAL_AT,
            },
        ),
        "failed": (
            "No money was returned; the amount can be refunded again",
            {
                **_PROCESSING,
                "status": RefundStatus.FAILED,
                "version": 3,
                "failure_code": "refund_window_closed",
                "failure_message": "The provider declined the refund",
                "failed_at": _FINAL_AT,
            },
        ),
    }.items()
}

REFUND_REQUESTS: Table = {
    "some of it": (
        "At most the part of amount and tip that is not refunded yet",
        {"amount": 300, "reason": "the soup was cold", "staff_code": "s-7"},
    ),
    "returned by the terminal": (
        "The terminal's own card application has returned the money; without `report`, the refund would wait for a report",
        {
            "reason": "the soup was cold",
            "staff_code": "s-7",
            "report": {"result": "approved", "approval_code": "A1B2C4", "slip_number": "000124"},
        },
    ),
    "all that is left": ("Without an amount", {"reason": "sold by mistake", "staff_code": "s-7"}),
}

REPORT_REQUESTS: Table = {
    "returned": (
        "By the terminal's own card application",
        {"result": "approved", "approval_code": "A1B2C4", "slip_number": "000124"},
    ),
    "handed out": ("In cash", {"result": "approved"}),
    "not returned": ("The card application declined, or the customer had left", {"result": "declined"}),
}
