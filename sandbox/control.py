"""Control routes, by which a test or an operator configures the sandbox.

They require the control key, which the product does not have, and add no latency.
"""

from aiohttp import web

from sandbox import ledger, operation_lifecycle
from sandbox.clock import MAX_AHEAD_SECONDS
from sandbox.context import SandboxContext
from sandbox.errors import bad_request_error
from sandbox.requests import integer_field, query_integer, read_object
from sandbox.responses import json_answer
from sandbox.timestamps import to_text

DEFAULT_PAGE = 1_000
MAX_PAGE = 5_000  # rows; a page of this size blocks the process for some 20 ms
MAX_SEED = 2**63 - 1
MAX_LATENCY_MS = 600_000
MAX_DUPLICATES = 1_000


async def health(_context: SandboxContext, _request: web.Request) -> web.StreamResponse:
    """Answer 200 once the sandbox serves."""
    return json_answer({"status": "ok"})


async def get_ledger(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Return movements of money after a cursor, oldest first."""
    after = query_integer(request, "after", default=0, lowest=0, highest=MAX_SEED)
    limit = query_integer(request, "limit", default=DEFAULT_PAGE, lowest=1, highest=MAX_PAGE)
    context.storage.commit()  # an auditor must not see what could still be rolled back
    page = ledger.page(context.storage, after=after, limit=limit)
    return json_answer({"data": [ledger.serialize_movement(row) for row in page.rows], "next": page.next_after})


async def get_payment_ledger(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Return all movements of one payment."""
    context.storage.commit()
    rows = ledger.of_payment(context.storage, request.match_info["payment_id"])
    return json_answer({"data": [ledger.serialize_movement(row) for row in rows], "next": None})


async def delete_ledger(context: SandboxContext, _request: web.Request) -> web.StreamResponse:
    """Delete all movements, references and fault states."""
    context.storage.empty()
    await context.storage.durable()
    return web.Response(status=204)


async def get_faults(context: SandboxContext, _request: web.Request) -> web.StreamResponse:
    """Return the fault rates."""
    return json_answer({"seed": context.fault_rates.seed, "rates": context.fault_rates.rates})


async def put_faults(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Replace the fault rates."""
    body = await read_object(request)
    rates = body.get("rates")
    if not isinstance(rates, dict) or any(type(rate) not in (int, float) for rate in rates.values()):
        raise bad_request_error("rates must be an object of numbers by fate")
    seed = integer_field({"seed": body.get("seed", 0)}, "seed", lowest=0, highest=MAX_SEED)
    context.fault_rates.set(seed=seed, rates=rates)
    return await get_faults(context, request)


async def delete_faults(context: SandboxContext, _request: web.Request) -> web.StreamResponse:
    """Set all fault rates to zero."""
    context.fault_rates.clear()
    return web.Response(status=204)


async def get_latency(context: SandboxContext, _request: web.Request) -> web.StreamResponse:
    """Return the latency."""
    return json_answer({"min_ms": context.latency.min_ms, "max_ms": context.latency.max_ms})


async def put_latency(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Set the latency of /v1 calls."""
    body = await read_object(request)
    min_ms = integer_field(body, "min_ms", lowest=0, highest=MAX_LATENCY_MS)
    max_ms = integer_field(body, "max_ms", lowest=min_ms, highest=MAX_LATENCY_MS)
    context.latency.min_ms, context.latency.max_ms = min_ms, max_ms
    return await get_latency(context, request)


async def get_clock(context: SandboxContext, _request: web.Request) -> web.StreamResponse:
    """Return the provider's time and its offset from the machine's clock."""
    clock = context.clock
    return json_answer({"ahead_seconds": clock.ahead_seconds, "now": to_text(clock.now())})


async def put_clock(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Move the clock forward. Operations that are due at the new time get their outcome at once."""
    body = await read_object(request)
    context.clock.move(integer_field(body, "ahead_seconds", lowest=0, highest=MAX_AHEAD_SECONDS))
    await context.storage.durable()
    operation_lifecycle.resume(context)
    return await get_clock(context, request)


async def get_webhooks(context: SandboxContext, _request: web.Request) -> web.StreamResponse:
    """Return the webhook settings and counts."""
    return json_answer(context.webhooks.describe())


async def put_webhooks(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Change the webhook settings that the body names. The others stay as they are."""
    body = await read_object(request)
    webhooks = context.webhooks
    now = {
        "url": webhooks.url,
        "enabled": webhooks.enabled,
        "duplicate": webhooks.duplicate,
        "delay_ms": webhooks.delay_ms,
    }
    wanted = {**now, **body}
    if not isinstance(wanted["url"], str) or type(wanted["enabled"]) is not bool:
        raise bad_request_error("url must be a text and enabled true or false")
    duplicate = integer_field(wanted, "duplicate", lowest=0, highest=MAX_DUPLICATES)
    delay_ms = integer_field(wanted, "delay_ms", lowest=0, highest=MAX_LATENCY_MS)
    webhooks.url, webhooks.enabled = wanted["url"], wanted["enabled"]
    webhooks.duplicate, webhooks.delay_ms = duplicate, delay_ms
    return await get_webhooks(context, request)
