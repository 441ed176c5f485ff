"""Serialise operations and errors.

Fields that have no meaning in a status are omitted: a decline has no approval code, and an approval has no decline code.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson
from aiohttp import web

from sandbox.errors import Refused
from sandbox.operations import Operation, Status, common_fields
from sandbox.timestamps import to_text

JSON_HEADERS = {"Content-Type": "application/json"}
CARD_BRANDS = ("visa", "mastercard", "jcb", "amex")
APPROVED = frozenset({Status.SUCCEEDED, Status.REVERSED})
DECLINE_MESSAGES = {
    "insufficient_funds": "The card has insufficient funds.",
    "expired_card": "The card has expired.",
    "cancelled": "The charge was cancelled before it was made.",
    "exceeds_captured": "The refund exceeds what is left of the charge.",
    "charge_not_found": "There is no such charge to refund.",
    "charge_not_succeeded": "The charge moved no money that could be refunded.",
    "currency_mismatch": "The refund's currency is not the charge's.",
}
OTHER_DECLINE = "The issuer declined."


def json_answer(body: dict[str, Any], *, status: int = 200) -> web.Response:
    """Return a response with this object as its JSON body."""
    return web.Response(body=orjson.dumps(body), status=status, headers=JSON_HEADERS)


def error_response(refused: Refused, names: Mapping[str, str]) -> web.Response:
    """Return the response to a refused call.

    ``names`` are the fields of the request to repeat (``requests.names_in``).
    """
    body = {"error": {"code": refused.code, "message": refused.message}, **names}
    answer = json_answer(body, status=refused.status)
    answer.headers.update(refused.headers)
    return answer


def serialize_operation(operation: Operation) -> dict[str, Any]:
    """Return an operation as the product sees it."""
    body = common_fields(operation)
    if operation.charge_reference is not None:
        body["charge_reference"] = operation.charge_reference
    if operation.status == Status.WAITING and operation.due_at is not None:
        body["qr_content"] = qr_content(operation)
        body["expires_at"] = to_text(operation.due_at)
    if operation.status in APPROVED:
        body |= _approval_fields(operation)
    elif operation.status == Status.DECLINED:
        body["decline_code"] = operation.decline_code
        body["decline_message"] = DECLINE_MESSAGES.get(operation.decline_code, OTHER_DECLINE)
    return body


def qr_content(operation: Operation) -> str:
    """Return the content of the QR code. The product must not interpret it."""
    return f"sandbox://pay/{operation.provider_reference}?amount={operation.amount}&currency={operation.currency}"


def _approval_fields(operation: Operation) -> dict[str, str]:
    number = int.from_bytes(blake2b(operation.provider_reference.encode(), digest_size=8).digest())
    approval = {"approval_code": f"{number % 1_000_000:06d}"}
    if operation.kind == "card":
        # Derived from the token if there is one, so that a card has the same number in every payment.
        card = blake2b((operation.token or operation.reference).encode(), digest_size=8).digest()
        approval["card_brand"] = CARD_BRANDS[card[0] % len(CARD_BRANDS)]
        approval["card_last_4"] = f"{int.from_bytes(card[1:5]) % 10_000:04d}"
    return approval
