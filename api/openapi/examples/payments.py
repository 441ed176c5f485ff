"""Examples of payments for the OpenAPI document: one of each way to pay, and one of each status."""

from typing import Any

from workflows.payments.states import PaymentStatus

_AT = {
    "created_at": "2026-11-23T03:15:02.118Z",
    "processing_at": "2026-11-23T03:15:02.131Z",
    "final_at": "2026-11-23T03:15:02.204Z",
    "expires_at": "2026-11-23T03:20:02.118Z",
}
_PENDING: dict[str, Any] = {
    "id": "pay_019ab0c2d3e47f50a6b7c8d9e0f1a2b3",
    "status": PaymentStatus.PENDING,
    "version": 1,
    "amount": 1000,
    "tip_amount": 0,
    "currency": "JPY",
    "captured_amount": 0,
    "refunded_amount": 0,
    "method_type": "qr",
    "method_mode": "mpm",
    "processing_mode": "provider",
    "provider": "sandbox",
    "device_id": "dev_019ab0c1a2b37c4d85e6f708192a3b4c",
    "store_id": "sto_019ab0c1a2b37c4d85e6f708192a3b4d",
    "merchant_id": "mer_019ab0c1a2b37c4d85e6f708192a3b4e",
    "client_reference": "till-3/20261123/0042",
    "outcome_known": True,
    "needs_review": False,
    "needs_action": False,
    "metadata": {},
    "expires_at": _AT["expires_at"],
    "created_at": _AT["created_at"],
}
_PROCESSING = {**_PENDING, "status": PaymentStatus.PROCESSING, "version": 2, "processing_at": _AT["processing_at"]}
_REFERENCE = {"provider_reference": "sbx_7f3a91c2"}
_COMPLETED = {
    **_PROCESSING,
    **_REFERENCE,
    "status": PaymentStatus.COMPLETED,
    "version": 3,
    "captured_amount": 1000,
    "approval_code": "482913",
    "completed_at": _AT["final_at"],
}

PAYMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "pending": ("Stored; a worker processes it in a moment", _PENDING),
    "processing": ("A provider call is in progress", _PROCESSING),
    "waiting for the customer": (
        "The terminal shows a code; the customer has not paid yet",
        {
            **_PROCESSING,
            **_REFERENCE,
            "version": 3,
            "next_action": {
                "type": "display_qr",
                "qr_content": "https://qr.example/7f3a91c2",
                "expires_at": _AT["expires_at"],
            },
        },
    ),
    "in doubt": (
        "It is not known yet whether money moved; wait, and do not charge again",
        {**_PROCESSING, "version": 3, "outcome_known": False},
    ),
    "completed": ("The money moved", _COMPLETED),
    "failed": (
        "Declined; no money moved",
        {
            **_PROCESSING,
            "status": PaymentStatus.FAILED,
            "version": 3,
            "failure_code": "insufficient_funds",
            "failure_message": "The provider declined the payment",
            "failed_at": _AT["final_at"],
        },
    ),
    "cancelled": (
        "Cancelled; no money moved",
        {
            **_PROCESSING,
            "status": PaymentStatus.CANCELLED,
            "version": 3,
            "cancel_requested_at": _AT["processing_at"],
            "cancel_reason": "requested",
            "cancel_outcome": "cancelled",
            "cancelled_at": _AT["final_at"],
        },
    ),
    "refunded": (
        "Refunded in part or in full; `refunded_amount` is the sum",
        {
            **_COMPLETED,
            "status": PaymentStatus.REFUNDED,
            "version": 4,
            "refunded_amount": 300,
            "refunded_at": "2026-11-23T05:40:11.007Z",
        },
    ),
}

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "QR shown by the merchant": (
        "`next_action` contains the code to show",
        {"amount": 1000, "method": {"type": "qr", "mode": "mpm"}, "client_reference": "till-3/20261123/0042"},
    ),
    "QR shown by the customer": (
        "The provider charges at once",
        {"amount": 1000, "method": {"type": "qr", "mode": "cpm"}},
    ),
    "card, by its token": (
        "Charged by a provider that has stored the card",
        {"amount": 1000, "method": {"type": "card", "provider": "sandbox", "token": "tok_demo"}},
    ),
    "card, on the terminal": (
        "The terminal's own card application has charged the card; this records the result",
        {
            "amount": 1000,
            "tip_amount": 100,
            "method": {"type": "card", "approval_code": "A1B2C3", "card_brand": "visa", "card_last_4": "1111"},
        },
    ),
    "cash": ("The server computes the change", {"amount": 1000, "method": {"type": "cash", "cash_received": 2000}}),
    "a fate for the sandbox": (
        "Declined on purpose; the other fates are in docs/sandbox.md",
        {
            "amount": 1000,
            "method": {"type": "qr", "mode": "cpm"},
            "metadata": {"sandbox": "decline:insufficient_funds"},
        },
    ),
}
