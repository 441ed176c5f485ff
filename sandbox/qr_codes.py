"""QR codes that the merchant shows: created by the product, paid by the customer.

Faults of the call apply when the code is created. Faults of the outcome (``decline``, ``partial``, ``pending``) are stored
and apply when the customer pays.
"""

from aiohttp import web

from sandbox import operation_lifecycle, operations
from sandbox.charges import new_operation, repeat
from sandbox.context import Provider
from sandbox.errors import Refused, not_found
from sandbox.faults import Fate
from sandbox.operations import Family, Operation, Status
from sandbox.pipeline import Call, fate_of, walk
from sandbox.requests import Order, read_order, whole_number
from sandbox.responses import json_answer, present
from sandbox.timestamps import MICROSECONDS_PER_SECOND

MAX_EXPIRES_IN_SECONDS = 86_400
DEAD = frozenset({Status.CANCELLED, Status.EXPIRED, Status.DECLINED, Status.REVERSED})


async def create_code(provider: Provider, request: web.Request) -> web.StreamResponse:
    """Create a code, or return the existing one of this reference."""
    order = await read_order(request)
    expires_in = whole_number(order.body, "expires_in", lowest=1, highest=MAX_EXPIRES_IN_SECONDS)
    fate = fate_of(provider, order)

    def act() -> Operation:
        known = operations.find(provider.store, order.reference, family=Family.CHARGE)
        if known is not None:
            return repeat(provider, known, order=order, fate=fate)
        return operation_lifecycle.create_waiting(
            provider, _new_code(order, fate=fate, expires_in=expires_in, at=provider.clock.now())
        )

    return await walk(provider, request, Call(Family.CHARGE, order, fate, act))


async def pay_code(provider: Provider, request: web.Request) -> web.StreamResponse:
    """Pay a code as its customer. A control call: control key, no latency, no faults but those stored with the code."""
    operation = operations.find(provider.store, request.match_info["reference"], family=Family.CHARGE)
    if operation is None or operation.kind != "qr_mpm":
        raise not_found("code")
    operation = operation_lifecycle.mature(provider, operation)
    if operation.status == Status.WAITING:
        operation = operation_lifecycle.pay(provider, operation)
    elif operation.status in DEAD:
        await provider.store.durable()
        raise Refused(409, f"code_{operation.status}", message=f"this code is {operation.status}")
    await provider.store.durable()
    return json_answer(present(operation))


def _new_code(order: Order, *, fate: Fate, expires_in: int, at: int) -> Operation:
    code = new_operation(order, family=Family.CHARGE, kind="qr_mpm", fate=fate, at=at)
    expires_at = code.created_at + expires_in * MICROSECONDS_PER_SECOND
    # the screen asks for the whole amount; the fate decides how much is paid
    return code._replace(amount=order.amount, decline_code="", due_at=expires_at)
