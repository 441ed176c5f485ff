"""POST /v1/charges: charge a customer once per reference."""

from aiohttp import web

from sandbox import operation_lifecycle, operations
from sandbox.context import Provider
from sandbox.errors import Refused, bad_request
from sandbox.faults import Fate
from sandbox.operations import Family, Operation, Status
from sandbox.pipeline import Call, fate_of, walk
from sandbox.requests import Order, read_order, text

KINDS = ("card", "qr_cpm")


async def create_charge(provider: Provider, request: web.Request) -> web.StreamResponse:
    """Charge the customer, or repeat the earlier answer to this reference."""
    order = await read_order(request)
    kind = order.body.get("kind", "card")
    if kind not in KINDS:
        raise bad_request(f"kind must be one of {', '.join(KINDS)}")
    token = text(order.body, "token") if order.body.get("token") is not None else ""
    fate = fate_of(provider, order)

    def act() -> Operation:
        known = operations.find(provider.store, order.reference, family=Family.CHARGE)
        if known is not None:
            return repeat(provider, known, order=order, fate=fate)
        operation = new_operation(order, family=Family.CHARGE, kind=kind, fate=fate, at=provider.clock.now())
        return operation_lifecycle.create(provider, operation._replace(token=token), fate=fate)

    return await walk(provider, request, Call(Family.CHARGE, order, fate, act))


def new_operation(order: Order, *, family: Family, kind: str, fate: Fate, at: int) -> Operation:
    """Return a new operation without an outcome."""
    return Operation(
        reference=order.reference,
        family=family,
        kind=kind,
        status=Status.WAITING,
        payment_id=order.payment_id,
        amount=fate.captured(order.amount),
        currency=order.currency,
        fee=0,
        provider_reference=operations.provider_reference(order.reference, family=family),
        token="",
        fate=fate.text,
        decline_code=fate.decline_code,
        charge_reference=None,
        fingerprint=order.fingerprint,
        created_at=at,
        due_at=None,
        account=order.account,
    )


def repeat(provider: Provider, known: Operation, *, order: Order, fate: Fate) -> Operation:
    """Return the answer to a known reference. Raises Refused (409) if the body now means something else."""
    # A reference that was cancelled before it was ever charged has no body to compare with.
    if known.fingerprint is not None and known.fingerprint != order.fingerprint:
        message = "this reference was used with another body"
        raise Refused(409, "idempotency_mismatch", message=message)
    known = operation_lifecycle.mature(provider, known)
    if known.status == Status.CANCELLED:
        # A cancellation before the charge may have named only the reference; this answer names the charge.
        known = known._replace(payment_id=order.payment_id, currency=order.currency)
        return known._replace(status=Status.DECLINED, decline_code="cancelled")
    # The customer pays a code, so creating it again moves no money, even with ``ignore_idempotency``.
    if fate.ignores_idempotency and known.status == Status.SUCCEEDED and known.kind != "qr_mpm":
        return operation_lifecycle.charge_again(provider, known)
    return known
