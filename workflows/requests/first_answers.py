"""Render the first answer to an accepted payment again, instead of storing its 1.1 KB beside the key.

The answer to an accept shows version 1 of the payment. An idempotency record may therefore have a recipe instead of the body:
the version of the renderer, a checksum of the body and, as JSON, the fields that can't be read from the payment later.

| field of version 1                                           | from                                                |
|--------------------------------------------------------------|-----------------------------------------------------|
| what the request named, the ids, creation and expiry         | columns of the payment that nothing changes         |
| ``approval_code``, ``card_brand``, ``card_last_4``, ``metadata`` | the recipe, unless they are empty: an answer may    |
|                                                              | replace the first three, jsonb sorts names in the last |
| all others                                                   | what every payment begins with                      |

A renderer never changes once it has been released; a new field of the contract needs a new one beside it. A replay whose bytes
do not have the checksum is refused and reported, because a wrong answer is worse than none.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zlib import crc32

import orjson
from sqlalchemy import text

from workflows.database.connection import Execute, Row
from workflows.database.json_rendering import render

_log = logging.getLogger(__name__)

_OF_PAYMENT = object()
"""Marks a field that is the payment's column of the same name."""

_FIELDS_1: Mapping[str, Any] = {
    "id": _OF_PAYMENT,
    "status": "pending",
    "version": 1,
    "amount": _OF_PAYMENT,
    "tip_amount": _OF_PAYMENT,
    "currency": _OF_PAYMENT,
    "captured_amount": 0,
    "refunded_amount": 0,
    "method": None,  # of two columns
    "processing_mode": _OF_PAYMENT,
    "provider": _OF_PAYMENT,
    "provider_reference": None,
    "approval_code": None,
    "card_brand": None,
    "card_last_4": None,
    "cash_received": _OF_PAYMENT,
    "change_amount": _OF_PAYMENT,
    "bill_id": _OF_PAYMENT,
    "order_id": _OF_PAYMENT,
    "device_id": _OF_PAYMENT,
    "store_id": _OF_PAYMENT,
    "merchant_id": _OF_PAYMENT,
    "client_reference": _OF_PAYMENT,
    "next_action": None,
    "failure_code": None,
    "failure_message": None,
    "cancel_requested_at": None,
    "cancel_reason": None,
    "cancel_outcome": None,
    "outcome_known": True,
    "advice": None,
    "needs_review": False,
    "needs_action": False,
    "settlement_id": None,
    "metadata": {},
    "expires_at": _OF_PAYMENT,
    "created_at": _OF_PAYMENT,
    "processing_at": None,
    "completed_at": None,
    "failed_at": None,
    "cancelled_at": None,
    "refunded_at": None,
}
"""The fields of the first renderer, in the order of the answer, and their values in version 1 of every payment."""

_KEPT = ("approval_code", "card_brand", "card_last_4", "metadata")
"""The fields that a recipe contains if their values are not those of ``_FIELDS_1``."""

_COLUMNS = (*(name for name, value in _FIELDS_1.items() if value is _OF_PAYMENT), "method_type", "method_mode")
# payments is a table of a higher layer. It is read here, because every look-up of a key may find a recipe.
_READ = text(f"SELECT {', '.join(_COLUMNS)} FROM payments WHERE id = ANY(:ids)")


def recipe_for(fields: Mapping[str, Any], body: bytes) -> str:
    """Return the recipe of ``body``, the answer that shows ``fields``."""
    kept = {name: fields[name] for name in _KEPT if fields[name] != _FIELDS_1[name]}
    recipe = f"{NEWEST} {_checksum(body)}"
    return f"{recipe} {render(kept).decode()}" if kept else recipe


async def with_bodies(execute: Execute, records: Sequence[Row]) -> Sequence[Row]:
    """Return ``records``, each that has a recipe instead of a body with the rendered body.

    A body that can't be rendered stays ``None``, and is logged; ``replay`` then refuses the request. ``execute`` runs a
    statement whose role may read the payments of these records.
    """
    without = [row["resource_id"] for row in records if _needs_body(row)]
    if not without:
        return records
    payments = {row["id"]: row for row in (await execute(_READ, {"ids": without})).mappings()}
    return [
        {**row, "body": _render_again(row, payments.get(row["resource_id"]))} if _needs_body(row) else row
        for row in records
    ]


def _needs_body(record: Row) -> bool:
    return record["recipe"] is not None and record["body"] is None


def _render_again(record: Row, payment: Row | None) -> str | None:
    version, _, rest = record["recipe"].partition(" ")
    checksum, _, kept = rest.partition(" ")
    renderer = _RENDERERS.get(version)
    if renderer is None:
        problem = f"its renderer {version} is unknown to this release"
    elif payment is None:
        problem = "its payment does not exist"
    else:
        body = renderer(payment, orjson.loads(kept) if kept else {})
        if _checksum(body) == checksum:
            return body.decode()
        problem = "the payment has changed in a field that never changes"
    _log.error(
        "the first answer for %s can't be rendered again: %s",
        record["resource_id"],
        problem,
        extra={"event": "idempotency.answer_lost", "payment_id": record["resource_id"]},
    )
    return None


def _render_1(payment: Row, kept: Mapping[str, Any]) -> bytes:
    of_payment = {
        **payment,
        "expires_at": payment["expires_at"] if payment["processing_mode"] == "provider" else None,
    }
    fields = {name: of_payment[name] if value is _OF_PAYMENT else value for name, value in _FIELDS_1.items()}
    fields["method"] = {"type": payment["method_type"], "mode": payment["method_mode"]}
    return render({**fields, **kept})


def _checksum(body: bytes) -> str:
    return f"{crc32(body):08x}"


NEWEST = "1"
"""The renderer of new recipes. Raise it one release after that which can read it, or gate it as ``render_answers`` does."""

_RENDERERS: Mapping[str, Callable[[Row, Mapping[str, Any]], bytes]] = {"1": _render_1}
