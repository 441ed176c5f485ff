"""Parse and check request bodies and queries by hand; an error names the field.

No schema library is used, because there are only five bodies, thousands of charges are parsed per second, and the sandbox
should start at once.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson
from aiohttp import web

from sandbox.errors import bad_request_error
from sandbox.faults import MAX_AMOUNT, Fate, parse_fate

MAX_TEXT = 200  # characters of a reference, an id or a token; longer ones are mistakes
MAX_BODY_BYTES = 64 * 1024
CURRENCY_LENGTH = 3
NAMES = ("reference", "payment_id", "currency")
"""Fields of the request that every answer repeats, even an error."""


@dataclass(frozen=True, slots=True)
class MoneyRequest:
    """The fields that the bodies of charges, codes and refunds share."""

    body: dict[str, Any]
    reference: str
    payment_id: str
    account: str  # the account whose statement lists the money; empty if none was named
    amount: int
    currency: str
    fate: Fate | None  # None: the fault rates decide
    fingerprint: bytes


async def read_object(request: web.Request) -> dict[str, Any]:
    """Return the body as a JSON object. Raises Refused (400)."""
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        raise bad_request_error("the body must be JSON") from None
    if not isinstance(body, dict):
        raise bad_request_error("the body must be a JSON object")
    return body


async def read_money_request(request: web.Request) -> MoneyRequest:
    """Parse and check the shared fields of a charge, a code or a refund. Raises Refused."""
    body = await read_object(request)
    currency = read_currency(body)
    return MoneyRequest(
        body=body,
        reference=text_field(body, "reference"),
        payment_id=text_field(body, "payment_id"),
        account=text_field(body, "account") if body.get("account") is not None else "",
        amount=integer_field(body, "amount", lowest=1, highest=MAX_AMOUNT),
        currency=currency,
        fate=_read_fate(body),
        fingerprint=_fingerprint(body),
    )


def read_currency(body: dict[str, Any]) -> str:
    """Return the required currency. Raises Refused (400)."""
    currency = text_field(body, "currency")
    if len(currency) != CURRENCY_LENGTH or not currency.isalpha() or not currency.isupper() or not currency.isascii():
        raise bad_request_error("currency must be three capital letters")
    return currency


def text_field(body: dict[str, Any], name: str) -> str:
    """Return a required text field of 1 to ``MAX_TEXT`` characters. Raises Refused (400)."""
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
        raise bad_request_error(f"{name} must be a text of 1 to {MAX_TEXT} characters")
    return value


def integer_field(body: dict[str, Any], name: str, *, lowest: int, highest: int) -> int:
    """Return a required integer field. ``true`` and 1.0 are not integers. Raises Refused (400)."""
    value = body.get(name)
    if type(value) is not int or not lowest <= value <= highest:
        raise bad_request_error(f"{name} must be a whole number from {lowest} to {highest}")
    return value


def query_integer(request: web.Request, name: str, *, default: int, lowest: int, highest: int) -> int:
    """Return an optional integer of the query. Raises Refused (400)."""
    value = request.query.get(name)
    if value is None or value == "":
        return default
    if not value.isascii() or not value.isdigit() or not lowest <= int(value[:MAX_TEXT]) <= highest:
        raise bad_request_error(f"{name} must be a whole number from {lowest} to {highest}")
    return int(value)


def names_in_path(request: web.Request) -> dict[str, str]:
    """Return the reference in the request's path, if there is one."""
    reference = request.match_info.get("reference")
    return {"reference": reference} if reference else {}


async def names_in(request: web.Request) -> dict[str, str]:
    """Return those of the fields ``NAMES`` that can be read from a request.

    An error repeats these fields, so that a client can tell to which request the error belongs.
    """
    try:
        body = orjson.loads(await request.read())
    except (orjson.JSONDecodeError, ConnectionError, web.HTTPException):
        body = None
    names = {name: body.get(name) for name in NAMES} if isinstance(body, dict) else {}
    readable = {name: value for name, value in names.items() if isinstance(value, str) and 0 < len(value) <= MAX_TEXT}
    return readable | names_in_path(request)


def _fingerprint(body: dict[str, Any]) -> bytes:
    """Return a hash of the body that does not depend on the order of its fields."""
    try:
        return blake2b(orjson.dumps(body, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
    except orjson.JSONEncodeError:
        raise bad_request_error("the body is nested too deeply") from None


def _read_fate(body: dict[str, Any]) -> Fate | None:
    metadata = body.get("metadata")
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise bad_request_error("metadata must be an object")
    fate = metadata.get("sandbox")
    if fate is None or fate == "":
        return None
    if not isinstance(fate, str) or len(fate) > MAX_TEXT:
        raise bad_request_error(f"metadata.sandbox must be a text of at most {MAX_TEXT} characters")
    return parse_fate(fate)
