"""Answer ``POST /v1/charges``: charge a customer once per reference."""

from aiohttp import web

from sandbox import operation_lifecycle, operations
from sandbox.context import SandboxContext
from sandbox.errors import Refused, bad_request_error
from sandbox.faults import Fate
from sandbox.operations import Family, Operation, Status
from sandbox.pipeline import Call, fate_of, run_call
from sandbox.requests import MoneyRequest, read_money_request, text_field

KINDS = ("card", "qr_cpm")


async def create_charge(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Charge the customer, or repeat the earlier answer to this reference."""
    money_request = await read_money_request(request)
    kind = money_request.body.get("kind", "card")
    if kind not in KINDS:
        raise bad_request_error(f"kind must be one of {', '.join(KINDS)}")
    token = text_field(money_request.body, "token") if money_request.body.get("token") is not None else ""
    fate = fate_of(context, money_request)

    def act() -> Operation:
        known = operations.find(context.storage, money_request.reference, family=Family.CHARGE)
        if known is not None:
            return repeat(context, known, money_request=money_request, fate=fate)
        operation = new_operation(money_request, family=Family.CHARGE, kind=kind, fate=fate, at=context.clock.now())
        return operation_lifecycle.create(context, operation._replace(token=token), fate=fate)

    return await run_call(context, request, Call(Family.CHARGE, money_request, fate, act))


def new_operation(money_request: MoneyRequest, *, family: Family, kind: str, fate: Fate, at: int) -> Operation:
    """Return a new operation without an outcome."""
    return Operation(
        reference=money_request.reference,
        family=family,
        kind=kind,
        status=Status.WAITING,
        payment_id=money_request.payment_id,
        amount=fate.captured(money_request.amount),
        currency=money_request.currency,
        fee=0,
        provider_reference=operations.provider_reference(money_request.reference, family=family),
        token="",
        fate=fate.text,
        decline_code=fate.decline_code,
        charge_reference=None,
        fingerprint=money_request.fingerprint,
        created_at=at,
        due_at=None,
        account=money_request.account,
    )


def repeat(context: SandboxContext, known: Operation, *, money_request: MoneyRequest, fate: Fate) -> Operation:
    """Return the operation with which a repeated call is answered.

    Raises Refused (409) if the body of the call is a different one.
    """
    # A reference that was cancelled before it was ever charged has no body to compare with.
    if known.fingerprint is not None and known.fingerprint != money_request.fingerprint:
        message = "this reference was used with another body"
        raise Refused(409, "idempotency_mismatch", message=message)
    known = operation_lifecycle.apply_if_due(context, known)
    if known.status == Status.CANCELLED:
        # The cancel may have named only the reference, but this answer must repeat the payment and currency of the charge.
        known = known._replace(payment_id=money_request.payment_id, currency=money_request.currency)
        return known._replace(status=Status.DECLINED, decline_code="cancelled")
    # Creating a code again moves no money, even with ``ignore_idempotency``: only the customer's payment does.
    if fate.ignores_idempotency and known.status == Status.SUCCEEDED and known.kind != "qr_mpm":
        return operation_lifecycle.charge_again(context, known)
    return known
