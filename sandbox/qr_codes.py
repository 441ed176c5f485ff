"""Create the QR codes that the merchant shows, and pay them as the customer.

Faults of the call apply when the code is created. Faults of the outcome (``decline``, ``partial``, ``pending``) are stored
with the code and apply when the customer pays.
"""

from aiohttp import web

from sandbox import operation_lifecycle, operations
from sandbox.charges import new_operation, repeat
from sandbox.context import SandboxContext
from sandbox.errors import Refused, not_found_error
from sandbox.faults import Fate
from sandbox.operations import Family, Operation, Status
from sandbox.pipeline import Call, fate_of, run_call
from sandbox.requests import MoneyRequest, integer_field, read_money_request
from sandbox.responses import json_answer, serialize_operation
from sandbox.timestamps import MICROSECONDS_PER_SECOND

MAX_EXPIRES_IN_SECONDS = 86_400
DEAD = frozenset({Status.CANCELLED, Status.EXPIRED, Status.DECLINED, Status.REVERSED})


async def create_code(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Create a code, or return the code that this reference has already."""
    money_request = await read_money_request(request)
    expires_in = integer_field(money_request.body, "expires_in", lowest=1, highest=MAX_EXPIRES_IN_SECONDS)
    fate = fate_of(context, money_request)

    def act() -> Operation:
        known = operations.find(context.storage, money_request.reference, family=Family.CHARGE)
        if known is not None:
            return repeat(context, known, money_request=money_request, fate=fate)
        return operation_lifecycle.create_waiting(
            context, _new_code(money_request, fate=fate, expires_in=expires_in, at=context.clock.now())
        )

    return await run_call(context, request, Call(Family.CHARGE, money_request, fate, act))


async def pay_code(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Pay a code as its customer.

    The call requires the control key; only the faults that were stored with the code apply.
    """
    operation = operations.find(context.storage, request.match_info["reference"], family=Family.CHARGE)
    if operation is None or operation.kind != "qr_mpm":
        raise not_found_error("code")
    operation = operation_lifecycle.apply_if_due(context, operation)
    if operation.status == Status.WAITING:
        operation = operation_lifecycle.pay(context, operation)
    elif operation.status in DEAD:
        await context.storage.durable()
        raise Refused(409, f"code_{operation.status}", message=f"this code is {operation.status}")
    await context.storage.durable()
    return json_answer(serialize_operation(operation))


def _new_code(money_request: MoneyRequest, *, fate: Fate, expires_in: int, at: int) -> Operation:
    code = new_operation(money_request, family=Family.CHARGE, kind="qr_mpm", fate=fate, at=at)
    expires_at = code.created_at + expires_in * MICROSECONDS_PER_SECOND
    # The code shows the whole amount. Its fate decides the paid amount and the outcome when the customer pays.
    return code._replace(amount=money_request.amount, decline_code="", due_at=expires_at)
