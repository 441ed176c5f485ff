"""Compute the canonical form of a request body, to tell a repeated request from a different one.

Two bodies are equal if validation gives the same values: the order of names, whitespace, escapes and explicit defaults do not
matter. Texts are compared without Unicode normalisation, and lists in their order.

For the body of a payment this takes 1 µs; decoding and validating it takes 17 µs in all.
"""

import json
from typing import Any

import orjson
from pydantic import BaseModel

from api.schemas.base import Part
from workflows.tenants.caller import Caller, Scope


def canonical_form(body: BaseModel, caller: Caller) -> tuple[bytes, str]:
    """Return the canonical form of a valid body without its currency, and the currency.

    The currency is empty if the body has none. It is compared separately, because its default is the store's, which only the
    use-case knows. For a caller that belongs to one store, a body with that store's id and a body without a store are equal.
    """
    fields = _plain(body)
    if "store_id" in fields:
        fields["store_id"] = caller.store_id if caller.scope is Scope.STORE else fields["store_id"]
    currency = fields.pop("currency", None)
    return orjson.dumps(fields, default=_plain, option=orjson.OPT_SORT_KEYS), currency or ""


def canonical_form_of_invalid(value: Any, raw: bytes) -> bytes:
    """Return the canonical form of an invalid body.

    ``value`` is the JSON value that was parsed from ``raw``.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    except RecursionError:  # nested so deeply that it can be parsed but not serialised
        return raw


def _plain(part: BaseModel) -> dict[str, Any]:
    return part.comparison_fields() if isinstance(part, Part) else dict(part.__dict__)
