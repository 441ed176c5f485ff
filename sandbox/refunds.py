"""POST /v1/refunds: refund once per reference, and never more than was charged."""

from aiohttp import web

from sandbox import operation_lifecycle, operations
from sandbox.charges import new_operation, repeat
from sandbox.context import Provider
from sandbox.faults import Fate
from sandbox.operations import Family, Operation, Status
from sandbox.pipeline import Call, fate_of, walk
from sandbox.requests import Order, read_order, text


async def create_refund(provider: Provider, request: web.Request) -> web.StreamResponse:
    """Refund the customer, or repeat the earlier answer to this reference."""
    order = await read_order(request)
    charge_reference = text(order.body, "charge_reference")
    fate = fate_of(provider, order)

    def act() -> Operation:
        known = operations.find(provider.store, order.reference, family=Family.REFUND)
        if known is not None:
            return repeat(provider, known, order=order, fate=fate)
        return _begin(provider, order, charge_reference=charge_reference, fate=fate)

    return await walk(provider, request, Call(Family.REFUND, order, fate, act))


def _begin(provider: Provider, order: Order, *, charge_reference: str, fate: Fate) -> Operation:
    refund = new_operation(order, family=Family.REFUND, kind="refund", fate=fate, at=provider.clock.now())
    refund = refund._replace(charge_reference=charge_reference)
    objection = _objection(provider, refund, asked=order.amount)
    if objection:
        # An impossible refund is declined at once, whatever its fate.
        return operation_lifecycle.create_declined(provider, refund, decline_code=objection)
    return operation_lifecycle.create(provider, refund, fate=fate)


def _objection(provider: Provider, refund: Operation, *, asked: int) -> str:
    """Return why this refund is impossible, as a decline code; empty if it is possible."""
    reference = refund.charge_reference or ""
    charge = operations.find(provider.store, reference, family=Family.CHARGE)
    if charge is None or charge.payment_id != refund.payment_id:
        return "charge_not_found"
    if operation_lifecycle.mature(provider, charge).status != Status.SUCCEEDED:
        return "charge_not_succeeded"
    if charge.currency != refund.currency:
        return "currency_mismatch"
    if asked > charge.amount - operations.refunded_amount(provider.store, reference):
        return "exceeds_captured"
    return ""
