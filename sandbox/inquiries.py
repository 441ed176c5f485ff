"""Answer inquiries: return the status of a charge, a code or a refund by its reference, unless a fault hides it."""

from aiohttp import web

from sandbox import fault_state, operation_lifecycle, operations
from sandbox.context import SandboxContext
from sandbox.errors import Refused, not_found_error
from sandbox.operations import Family
from sandbox.responses import json_answer, serialize_operation

INQUIRY_UNAVAILABLE = Refused(503, "unavailable", message="inquiries are not available")


async def inquire_charge(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Return the status of a charge or a code."""
    return await _inquire(context, request, family=Family.CHARGE)


async def inquire_refund(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Return the status of a refund."""
    return await _inquire(context, request, family=Family.REFUND)


async def _inquire(context: SandboxContext, request: web.Request, *, family: Family) -> web.StreamResponse:
    reference = request.match_info["reference"]
    at = context.clock.now()
    if fault_state.is_unavailable(context.storage, reference, family=family, at=at):
        raise INQUIRY_UNAVAILABLE
    operation = operations.find(context.storage, reference, family=family)
    if operation is None or fault_state.is_hidden(context.storage, reference, family=family, at=at):
        raise not_found_error(family)
    operation = operation_lifecycle.apply_if_due(context, operation)
    await context.storage.durable()
    return json_answer(serialize_operation(operation))
