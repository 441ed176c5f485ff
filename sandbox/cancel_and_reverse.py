"""Cancel or reverse a charge, so that the customer pays nothing for its reference.

Both act on the real status, even while a fault makes inquiries answer something else. Both store an unknown reference as
cancelled, so that a charge that arrives later is declined.

| status | cancel | reverse |
|---|---|---|
| unknown, waiting, pending, declined, expired | cancelled | cancelled |
| cancelled | 200 again | 200 again |
| succeeded | 409, the charge | reversed, a ``reversal`` in the ledger; 409 ``refunded`` if some was refunded |
| reversed | 200 again | 200 again |
"""

from collections.abc import Callable
from typing import NamedTuple

from aiohttp import web

from sandbox import operation_lifecycle, operations
from sandbox.context import SandboxContext
from sandbox.errors import Refused
from sandbox.operations import Family, Operation, Status
from sandbox.requests import read_currency, read_object, text_field
from sandbox.responses import json_answer, serialize_operation

UNDONE = frozenset({Status.CANCELLED, Status.REVERSED})
NO_CURRENCY = "XXX"  # ISO 4217 for "no currency", if the caller named none for an unknown charge


async def cancel_charge(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Cancel a charge, or answer 409 if it has succeeded already."""
    operation = _undo(context, await _read_undo_request(request), succeeded=lambda charge: charge)
    await context.storage.durable()
    return json_answer(serialize_operation(operation), status=409 if operation.status == Status.SUCCEEDED else 200)


async def reverse_charge(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Reverse everything that was charged under a reference, or cancel it if nothing was."""

    def undo_succeeded(charge: Operation) -> Operation:
        if operations.refunded_amount(context.storage, charge.reference):
            raise Refused(409, "refunded", message="part of this charge was refunded; refund the rest")
        return operation_lifecycle.reverse(context, charge)

    operation = _undo(context, await _read_undo_request(request), succeeded=undo_succeeded)
    await context.storage.durable()
    return json_answer(serialize_operation(operation))


class UndoRequest(NamedTuple):
    """The charge to cancel or reverse. ``payment_id`` and ``currency`` are stored with a reference that is unknown."""

    reference: str
    payment_id: str
    currency: str


async def _read_undo_request(request: web.Request) -> UndoRequest:
    body = await read_object(request) if request.body_exists else {}
    payment_id = text_field(body, "payment_id") if body.get("payment_id") is not None else ""
    currency = read_currency(body) if body.get("currency") is not None else NO_CURRENCY
    return UndoRequest(request.match_info["reference"], payment_id, currency)


def _undo(
    context: SandboxContext, undo_request: UndoRequest, *, succeeded: Callable[[Operation], Operation]
) -> Operation:
    operation = operations.find(context.storage, undo_request.reference, family=Family.CHARGE)
    if operation is None:
        return operation_lifecycle.create_cancelled(context, _unknown_operation(undo_request, at=context.clock.now()))
    operation = operation_lifecycle.apply_if_due(context, operation)
    if operation.status in UNDONE:
        return operation
    if operation.status == Status.SUCCEEDED:
        return succeeded(operation)
    return operation_lifecycle.cancel(context, operation)


def _unknown_operation(undo_request: UndoRequest, *, at: int) -> Operation:
    return Operation(
        reference=undo_request.reference,
        family=Family.CHARGE,
        kind="unknown",
        status=Status.CANCELLED,
        payment_id=undo_request.payment_id,
        amount=0,
        currency=undo_request.currency,
        fee=0,
        provider_reference=operations.provider_reference(undo_request.reference, family=Family.CHARGE),
        token="",
        fate="",
        decline_code="",
        charge_reference=None,
        fingerprint=None,
        created_at=at,
        due_at=None,
        account="",
    )
