"""Compute the canonical form of a request body, to tell a repeated request from a different one.

Two bodies mean the same if they are validated to the same values: the order of names, whitespace, escapes and explicit
defaults do not matter. Texts are compared as they are, without Unicode normalisation, and lists in their order.

For a payment this takes 1 µs, of 17 µs for decoding and validating it.
"""

import json
from typing import Any

import orjson
from pydantic import BaseModel

from api.schemas.base import Part
from workflows.tenants.caller import Caller, Scope


def canonical_form(body: BaseModel, caller: Caller) -> tuple[bytes, str]:
    """Return the canonical form of a valid body without its currency, and the currency if it names one.

    The default currency is the store's own, which only the use-case knows, so it is compared separately. A caller that belongs
    to one store means that store, whether it names it or not.
    """
    fields = _plain(body)
    if "store_id" in fields:
        fields["store_id"] = caller.store_id if caller.scope is Scope.STORE else fields["store_id"]
    currency = fields.pop("currency", None)
    return orjson.dumps(fields, default=_plain, option=orjson.OPT_SORT_KEYS), currency or ""


def canonical_form_of_invalid(value: Any, raw: bytes) -> bytes:
    """Return the canonical form of a JSON value that was parsed from ``raw`` but is not a valid body."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    except RecursionError:  # nested so deep that it can be parsed but not written
        return raw


def _plain(part: BaseModel) -> dict[str, Any]:
    return part.comparison_fields() if isinstance(part, Part) else dict(part.__dict__)
