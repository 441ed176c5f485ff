"""GET by reference: return the status of a charge, a code or a refund, unless a fault hides it."""

from aiohttp import web

from sandbox import fault_state, operation_lifecycle, operations
from sandbox.context import Provider
from sandbox.errors import Refused, not_found
from sandbox.operations import Family
from sandbox.responses import json_answer, present

DARK = Refused(503, "unavailable", message="inquiries are not available")


async def ask_charge(provider: Provider, request: web.Request) -> web.StreamResponse:
    """Return the status of a charge or a code."""
    return await _ask(provider, request, family=Family.CHARGE)


async def ask_refund(provider: Provider, request: web.Request) -> web.StreamResponse:
    """Return the status of a refund."""
    return await _ask(provider, request, family=Family.REFUND)


async def _ask(provider: Provider, request: web.Request, *, family: Family) -> web.StreamResponse:
    reference = request.match_info["reference"]
    at = provider.clock.now()
    if fault_state.is_unavailable(provider.store, reference, family=family, at=at):
        raise DARK
    operation = operations.find(provider.store, reference, family=family)
    if operation is None or fault_state.is_hidden(provider.store, reference, family=family, at=at):
        raise not_found(family)
    operation = operation_lifecycle.mature(provider, operation)
    await provider.store.durable()
    return json_answer(present(operation))
