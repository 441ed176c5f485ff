"""Read idempotency keys, and store a 422 as the answer to its key.

A repeated request gets a stored 422 again, and a different body with its key is refused, as for any stored answer. Other
answers are stored in the transaction that writes their rows. A 422 writes no rows, so it needs a separate transaction.
"""

import re
from typing import Any

from fastapi import Request
from starlette.responses import Response

from api.media_types import JSON
from api.strict_json import read_json
from workflows.card_data import ISSUE, looks_like_card_data
from workflows.errors import Detail, DomainError, IdempotencyKeyReused, InvalidRequest, MalformedRequest
from workflows.ids import WELL_FORMED
from workflows.requests.idempotency import Key, fingerprint, store_or_replay
from workflows.tenants.caller import Caller
from workflows.tenants.scope import resolve_merchant

PRINTABLE = re.compile(r"[\x20-\x7e]{1,100}")
HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
KEY_PARAMETER: dict[str, Any] = {
    "parameters": [
        {
            "name": HEADER,
            "in": "header",
            "required": True,
            "description": "A key belongs to its caller. Send a new value for each new request; the same value with a body of "
            "the same meaning returns the same answer for 24 hours",
            "schema": {"type": "string", "pattern": "^[ -~]{1,100}$"},
            "example": "till-3-20261123-0042",
        }
    ]
}
"""``openapi_extra=`` of a route that requires a key. Written by hand, because FastAPI would validate a declared parameter a
second time."""


def key_value(request: Request) -> str:
    """Return the value of the ``Idempotency-Key`` header.

    Raises ``MalformedRequest`` unless it has 1 to 100 printable characters, and ``InvalidRequest`` if it holds card data.
    """
    value = request.headers.get(HEADER)
    if value is None:
        raise MalformedRequest(Detail(HEADER, "This header is required; send a new value for each new request"))
    if not PRINTABLE.fullmatch(value):
        raise MalformedRequest(Detail(HEADER, "Must be 1 to 100 printable characters"))
    if looks_like_card_data(value):
        raise InvalidRequest(Detail(HEADER, ISSUE))
    return value


def key_of(
    request: Request, value: str, *, body: bytes, secret: bytes, meaning: bytes | None = None, currency: str = ""
) -> Key:
    """Build the ``Key`` of a request whose caller was authenticated. ``value`` is that of the header.

    ``meaning`` is the canonical form of ``body`` without the currency; by default, the bytes of ``body`` are compared.
    """
    caller: Caller = request.state.caller
    hashed = fingerprint(body, secret=secret)
    meant = hashed if meaning is None else fingerprint(meaning, secret=secret)
    return Key(value, request.method, request.scope["path"], caller.identity, hashed, f"{meant}:{currency}")


async def store_refusal(request: Request, error: DomainError, response: Response) -> Response:
    """Store a 422 as the answer to its key. Return it, or the answer that is stored already.

    For callers above merchant level the answer is stored under the merchant that the request refers to. If it refers to none,
    nothing is stored, and a repeated request is checked again. Raises ``IdempotencyKeyReused``, and ``ServiceUnavailable`` if
    nothing can be stored now.
    """
    key: Key | None = getattr(request.state, "key", None)
    caller: Caller | None = getattr(request.state, "caller", None)
    if key is None or caller is None or isinstance(error, IdempotencyKeyReused):
        return response
    merchant_id = caller.merchant_id or await _merchant_named(request, caller)
    if not merchant_id:
        return response
    stored = await store_or_replay(
        caller, key, merchant_id=merchant_id, status=response.status_code, body=bytes(response.body)
    )
    if stored.is_replay:
        return Response(stored.body, stored.status, media_type=JSON, headers={REPLAYED: "true"})
    return response


async def _merchant_named(request: Request, caller: Caller) -> str | None:
    named = next(iter(request.path_params.values()), None)  # all path parameters are ids
    if named is None:
        raw = await request.body()
        body = read_json(raw) if raw else None
        several = body.get("order_ids") if isinstance(body, dict) else None
        first = several[0] if isinstance(several, list) and several else None
        named = body.get("store_id") or body.get("order_id") or first if isinstance(body, dict) else None
    return await resolve_merchant(caller, named) if isinstance(named, str) and WELL_FORMED.fullmatch(named) else None
