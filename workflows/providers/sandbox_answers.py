"""Interpret the sandbox provider's answers. All decisions are in tables.

An answer counts only if it repeats the reference, the payment and the currency of its request. An answer with other
values, one that was not written by the provider, and one with a malformed field (an amount that is not a number, a text with
control characters) are ``Unknown``. An HTTP status alone proves nothing, because load balancers and firewalls send statuses
too.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson

from workflows.card_data import looks_like_card_data, mask_digits
from workflows.providers.base import (
    ActionRequired,
    Answer,
    Charge,
    ChargeRefund,
    Declined,
    FailureCode,
    NextActionType,
    NotFound,
    Succeeded,
    Unavailable,
    Unknown,
    Withdrawn,
)
from workflows.providers.http_reader import HttpAnswer

OK, REFUSED, MISSING, CONFLICT = 200, 400, 404, 409

NOTHING_DONE = {"unauthorized": 401, "rate_limited": 429, "unavailable": 503}
"""``error.code`` in the provider's error body → its HTTP status: nothing was done, and the call may be repeated."""

RETRIABLE_CODES = frozenset({"try_again_later", "issuer_unavailable", "processor_busy"})
"""Codes of declines after which the sandbox's documentation allows another attempt."""

LONGEST_TEXT = 500  # characters of any field; our columns hold this many, so a longer value is invalid
LARGEST_AMOUNT = 2**63 - 1
LONGEST_WAIT_SECONDS = 3_600.0  # of any ``Retry-After``
LAST_DIGITS = 4


def parse_amount(value: Any) -> int:
    """Return ``value`` if it is a whole number of minor units. Raises ``TypeError`` if it is not."""
    if type(value) is not int or abs(value) > LARGEST_AMOUNT:
        raise TypeError("not a whole number of minor units")
    return value


def parse_text(value: Any) -> str:
    """Return ``value`` if it is one line of text. Raises ``TypeError`` if it is not."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise TypeError("not a line of text")
    return value


def parse_masked_text(value: Any) -> str:
    """Return ``value``, a human-readable text, with card numbers masked.

    The provider may have quoted a card number. Raises ``TypeError`` if ``value`` is not one line of text.
    """
    return mask_digits(parse_text(value))


def parse_code(value: Any) -> str | None:
    """Return a code or reference, or ``None`` if it is missing or could be a card number.

    A card number is never stored.
    """
    return None if value is None or looks_like_card_data(parse_text(value)) else str(value)


def _last_digits_if_any(value: Any) -> str | None:
    """Return the last four digits of a card, or ``None`` for any other value.

    Other values are not an error, because the meaning of the answer does not depend on these digits.
    """
    is_meant = isinstance(value, str) and len(value) == LAST_DIGITS and value.isascii() and value.isdigit()
    return value if is_meant else None


def _succeeded(body: dict[str, Any]) -> Succeeded:
    return Succeeded(
        amount=parse_amount(body["amount"]),
        provider_reference=parse_code(body.get("provider_reference")),
        approval_code=parse_code(body.get("approval_code")),
        card_brand=parse_code(body.get("card_brand")),
        card_last_4=_last_digits_if_any(body.get("card_last_4")),
        fee=parse_amount(body.get("fee") or 0),
    )


def _declined(body: dict[str, Any]) -> Declined:
    code = parse_code(body.get("decline_code") or None) or FailureCode.DECLINED
    message = parse_masked_text(body.get("decline_message") or "The provider declined the payment")
    return Declined(code=code, message=message, is_retriable=code in RETRIABLE_CODES)


def _pending(body: dict[str, Any]) -> ActionRequired:
    return ActionRequired(None, parse_code(body.get("provider_reference")))


def _waiting(body: dict[str, Any]) -> ActionRequired:
    until = parse_text(body["expires_at"])
    datetime.fromisoformat(until)
    content = parse_code(parse_text(body["qr_content"]))
    # A code that holds a card number is not shown. It cannot be paid, so it is withdrawn when it expires.
    action = {"type": NextActionType.DISPLAY_QR, "qr_content": content, "expires_at": until} if content else None
    return ActionRequired(action, parse_code(body.get("provider_reference")))


ANSWERS: Mapping[str, Callable[[dict[str, Any]], Answer]] = {
    "succeeded": _succeeded,
    "declined": _declined,
    "pending": _pending,
    "waiting": _waiting,
    "cancelled": lambda _body: Withdrawn(),
    "expired": lambda _body: Withdrawn(),
    "reversed": lambda _body: Withdrawn(),
}
"""``status`` in the body of an answer → its meaning. Any other status is ``Unknown``."""

NAMES = ("reference", "payment_id", "currency")
"""Fields of the request that an answer about a charge or a refund must repeat."""


def read_answer(answer: HttpAnswer, asked: Charge | ChargeRefund, *, refusal: int | None = REFUSED) -> Answer:
    """Return the meaning of ``answer`` to the request ``asked``.

    ``refusal`` is the HTTP status that refuses the request permanently. It is ``None`` for an inquiry, because a refused
    inquiry says nothing about the charge or refund.
    """
    try:
        body = orjson.loads(answer.body)
        if not isinstance(body, dict):
            raise TypeError("not an object")
        if "error" in body:
            return _read_error(answer, body, asked, refusal)
        return _read_operation(answer.status, body, asked)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return Unknown(f"unreadable answer with status {answer.status}")


def _read_operation(status: int, body: dict[str, Any], asked: Charge | ChargeRefund) -> Answer:
    if status not in (OK, CONFLICT):
        return Unknown(f"the provider answered {status}")
    for name in NAMES:
        if body.get(name) != getattr(asked, name):
            return Unknown(f"the answer names another {name}")
    read = ANSWERS.get(parse_text(body["status"]))
    return read(body) if read else Unknown(f"unknown status {parse_masked_text(body['status'])!r}")


def _read_error(answer: HttpAnswer, body: dict[str, Any], asked: Charge | ChargeRefund, refusal: int | None) -> Answer:
    """Return the meaning of an error body.

    It must name the reference; it names the payment and the currency only if the provider knows them.
    """
    status, code = answer.status, parse_text(body["error"]["code"])
    for name in NAMES:
        if body.get(name) != getattr(asked, name) and (name == "reference" or name in body):
            return Unknown(f"the error with status {status} names another {name}")
    if NOTHING_DONE.get(code) == status:
        return Unavailable(f"the provider answered {status} {code}", _wait_seconds(answer.headers.get("retry-after")))
    if (status, code) == (MISSING, "not_found"):
        return NotFound()
    if (status, code) == (refusal, "invalid_request"):
        return Declined(FailureCode.REFUSED_BY_PROVIDER, parse_masked_text(body["error"]["message"]))
    return Unknown(f"the provider answered {status} {parse_masked_text(code)}")


def _wait_seconds(text: str | None) -> float | None:
    if not text or not text.isascii() or not text.isdecimal():
        return None
    return min(float(text), LONGEST_WAIT_SECONDS)
