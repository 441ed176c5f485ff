"""Answer ``POST /v1/refunds``: refund once per reference, and never more than was charged."""

from aiohttp import web

from sandbox import operation_lifecycle, operations
from sandbox.charges import new_operation, repeat
from sandbox.context import SandboxContext
from sandbox.faults import Fate
from sandbox.operations import Family, Operation, Status
from sandbox.pipeline import Call, fate_of, run_call
from sandbox.requests import MoneyRequest, read_money_request, text_field


async def create_refund(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Refund the customer, or repeat the earlier answer to this reference."""
    money_request = await read_money_request(request)
    charge_reference = text_field(money_request.body, "charge_reference")
    fate = fate_of(context, money_request)

    def act() -> Operation:
        known = operations.find(context.storage, money_request.reference, family=Family.REFUND)
        if known is not None:
            return repeat(context, known, money_request=money_request, fate=fate)
        return _create(context, money_request, charge_reference=charge_reference, fate=fate)

    return await run_call(context, request, Call(Family.REFUND, money_request, fate, act))


def _create(context: SandboxContext, money_request: MoneyRequest, *, charge_reference: str, fate: Fate) -> Operation:
    refund = new_operation(money_request, family=Family.REFUND, kind="refund", fate=fate, at=context.clock.now())
    refund = refund._replace(charge_reference=charge_reference)
    decline_code = _reason_to_decline(context, refund, requested=money_request.amount)
    if decline_code:
        # Declined at once, whatever the fate of the refund is.
        return operation_lifecycle.create_declined(context, refund, decline_code=decline_code)
    return operation_lifecycle.create(context, refund, fate=fate)


def _reason_to_decline(context: SandboxContext, refund: Operation, *, requested: int) -> str:
    """Return the decline code of an impossible refund, or an empty text if it is possible."""
    reference = refund.charge_reference or ""
    charge = operations.find(context.storage, reference, family=Family.CHARGE)
    if charge is None or charge.payment_id != refund.payment_id:
        return "charge_not_found"
    if operation_lifecycle.apply_if_due(context, charge).status != Status.SUCCEEDED:
        return "charge_not_succeeded"
    if charge.currency != refund.currency:
        return "currency_mismatch"
    if requested > charge.amount - operations.refunded_amount(context.storage, reference):
        return "exceeds_captured"
    return ""
