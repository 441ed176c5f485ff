"""The steps of a call that may move money, with every place where a fault can apply.

| step | what | fault |
|---|---|---|
| 1 | refuse, with nothing done | ``unavailable`` ``rate_limited`` |
| 2 | lose the call, with nothing done | ``…_before_charge`` |
| 3 | do it, and wait until it is stored | ``decline`` ``partial`` ``pending`` ``ignore_idempotency`` |
| 4 | lose the answer | ``…_after_charge`` |
| 5 | send the answer slowly | ``slow`` |

Steps 2 and 4 apply only to the first call with a reference: a repeated call must get the real answer, and a fault that never
stopped would only test timeouts.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from sandbox import fault_state
from sandbox.context import Provider
from sandbox.errors import Refused
from sandbox.fault_responses import FAULTS, slow_response
from sandbox.faults import APPROVE, Fate
from sandbox.operations import Family, Operation
from sandbox.requests import Order
from sandbox.responses import json_answer, present

REFUSALS = {
    "unavailable": Refused(503, "unavailable", message="the provider is not available; nothing was done"),
    "rate_limited": Refused(429, "rate_limited", message="too many calls", headers={"Retry-After": "1"}),
}


@dataclass(frozen=True, slots=True)
class Call:
    """A checked call: what was requested, its fate, and the action itself, which must not await."""

    family: Family
    order: Order
    fate: Fate
    act: Callable[[], Operation]


def fate_of(provider: Provider, order: Order) -> Fate:
    """Return the fate that the caller chose, or else the one that the rates draw for this reference."""
    return order.fate if order.fate is not None else provider.fault_rates.draw(order.reference)


async def walk(provider: Provider, request: web.Request, call: Call) -> web.StreamResponse:
    """Take a call through the steps above. Raises Refused."""
    if call.fate is APPROVE:
        operation = call.act()
        await provider.store.durable()
        return json_answer(present(operation))
    return await _walk_among_faults(provider, request, call)


async def _walk_among_faults(provider: Provider, request: web.Request, call: Call) -> web.StreamResponse:
    store, fate = provider.store, call.fate
    _refuse(provider, call)
    fault = fate.fault if fate.fault and _strikes_first(provider, call) else ""
    fault_state.start_lying(store, call.order.reference, family=call.family, fate=fate, at=provider.clock.now())
    if fault.endswith("_before_charge"):
        await store.durable()
        return await FAULTS[fault](request, provider.holds)
    operation = call.act()
    await store.durable()
    if fault:
        return await FAULTS[fault](request, provider.holds)
    answer = json_answer(present(operation))
    return await slow_response(request, answer, milliseconds=fate.slow_ms) if fate.slow_ms else answer


def _refuse(provider: Provider, call: Call) -> None:
    if not call.fate.refusal:
        return
    # By payment and not by reference: a refused caller may return with the reference of a new attempt.
    name = f"{call.fate.refusal}:{call.family}:{call.order.payment_id}"
    if fault_state.apply_once(provider.store, name, at_most=call.fate.refusal_times):
        raise REFUSALS[call.fate.refusal]


def _strikes_first(provider: Provider, call: Call) -> bool:
    return fault_state.apply_once(provider.store, f"fault:{call.family}:{call.order.reference}", at_most=1)
