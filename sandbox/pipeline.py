"""Run a call that may move money through its steps. At each step a fault can apply.

| step | what | fault |
|---|---|---|
| 1 | refuse the call; nothing is done | ``unavailable`` ``rate_limited`` |
| 2 | lose the call; nothing is done | ``…_before_charge`` |
| 3 | perform the operation, and wait until it is stored | ``decline`` ``partial`` ``pending`` ``ignore_idempotency`` |
| 4 | lose the answer | ``…_after_charge`` |
| 5 | send the answer slowly | ``slow`` |

Steps 2 and 4 lose only the first call with a reference. A repeated call must get the real answer: a fault that never stopped
would only test timeouts.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from sandbox import fault_state
from sandbox.context import SandboxContext
from sandbox.errors import Refused
from sandbox.fault_responses import RESPONSES, slow_response
from sandbox.faults import APPROVE, Fate
from sandbox.operations import Family, Operation
from sandbox.requests import MoneyRequest
from sandbox.responses import json_answer, serialize_operation

REFUSALS = {
    "unavailable": Refused(503, "unavailable", message="the provider is not available; nothing was done"),
    "rate_limited": Refused(429, "rate_limited", message="too many calls", headers={"Retry-After": "1"}),
}


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose body was checked: its content, its fate, and the function that performs it.

    ``act`` is synchronous, because no other call may run between its first statement and ``durable()``.
    """

    family: Family
    money_request: MoneyRequest
    fate: Fate
    act: Callable[[], Operation]


def fate_of(context: SandboxContext, money_request: MoneyRequest) -> Fate:
    """Return the fate that the request names, or else draw a fate for its reference by the fault rates."""
    return money_request.fate if money_request.fate is not None else context.fault_rates.draw(money_request.reference)


async def run_call(context: SandboxContext, request: web.Request, call: Call) -> web.StreamResponse:
    """Run a call through the steps above, and return the answer. Raises Refused."""
    if call.fate is APPROVE:
        operation = call.act()
        await context.storage.durable()
        return json_answer(serialize_operation(operation))
    return await _run_with_faults(context, request, call)


async def _run_with_faults(context: SandboxContext, request: web.Request, call: Call) -> web.StreamResponse:
    storage, fate = context.storage, call.fate
    _refuse(context, call)
    fault = fate.fault if fate.fault and _is_first_time(context, call) else ""
    fault_state.start_false_answers(
        storage, call.money_request.reference, family=call.family, fate=fate, at=context.clock.now()
    )
    if fault.endswith("_before_charge"):
        await storage.durable()
        return await RESPONSES[fault](request, context.hanging_requests)
    operation = call.act()
    await storage.durable()
    if fault:
        return await RESPONSES[fault](request, context.hanging_requests)
    answer = json_answer(serialize_operation(operation))
    return await slow_response(request, answer, milliseconds=fate.slow_ms) if fate.slow_ms else answer


def _refuse(context: SandboxContext, call: Call) -> None:
    if not call.fate.refusal:
        return
    # Counted by payment rather than by reference, because a refused caller may use a new reference for its next attempt.
    name = f"{call.fate.refusal}:{call.family}:{call.money_request.payment_id}"
    if fault_state.apply_once(context.storage, name, at_most=call.fate.refusal_times):
        raise REFUSALS[call.fate.refusal]


def _is_first_time(context: SandboxContext, call: Call) -> bool:
    return fault_state.apply_once(context.storage, f"fault:{call.family}:{call.money_request.reference}", at_most=1)
