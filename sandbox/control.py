"""Control routes, by which a test or an operator configures the sandbox.

They require the control key, which the product does not have, and add no latency.
"""

from aiohttp import web

from sandbox import ledger, operation_lifecycle
from sandbox.clock import MAX_AHEAD_SECONDS
from sandbox.context import Provider
from sandbox.errors import bad_request
from sandbox.requests import query_number, read_object, whole_number
from sandbox.responses import json_answer
from sandbox.timestamps import to_text

DEFAULT_PAGE = 1_000
MAX_PAGE = 5_000  # rows; a page of this size blocks the process for some 20 ms
MAX_SEED = 2**63 - 1
MAX_LATENCY_MS = 600_000
MAX_DUPLICATES = 1_000


async def health(_provider: Provider, _request: web.Request) -> web.StreamResponse:
    """Answer 200 once the sandbox serves."""
    return json_answer({"status": "ok"})


async def get_ledger(provider: Provider, request: web.Request) -> web.StreamResponse:
    """Return movements of money after a cursor, oldest first."""
    after = query_number(request, "after", default=0, lowest=0, highest=MAX_SEED)
    limit = query_number(request, "limit", default=DEFAULT_PAGE, lowest=1, highest=MAX_PAGE)
    provider.store.commit()  # an auditor must not see what could still be rolled back
    page = ledger.page(provider.store, after=after, limit=limit)
    return json_answer({"data": [ledger.serialize(row) for row in page.rows], "next": page.next_after})


async def get_payment_ledger(provider: Provider, request: web.Request) -> web.StreamResponse:
    """Return all movements of one payment."""
    provider.store.commit()
    rows = ledger.of_payment(provider.store, request.match_info["payment_id"])
    return json_answer({"data": [ledger.serialize(row) for row in rows], "next": None})


async def delete_ledger(provider: Provider, _request: web.Request) -> web.StreamResponse:
    """Delete every movement, reference and fault state."""
    provider.store.empty()
    await provider.store.durable()
    return web.Response(status=204)


async def get_faults(provider: Provider, _request: web.Request) -> web.StreamResponse:
    """Return the fault rates."""
    return json_answer({"seed": provider.fault_rates.seed, "rates": provider.fault_rates.rates})


async def put_faults(provider: Provider, request: web.Request) -> web.StreamResponse:
    """Replace the fault rates."""
    body = await read_object(request)
    rates = body.get("rates")
    if not isinstance(rates, dict) or any(type(rate) not in (int, float) for rate in rates.values()):
        raise bad_request("rates must be an object of numbers by word")
    seed = whole_number({"seed": body.get("seed", 0)}, "seed", lowest=0, highest=MAX_SEED)
    provider.fault_rates.set(seed=seed, rates=rates)
    return await get_faults(provider, request)


async def delete_faults(provider: Provider, _request: web.Request) -> web.StreamResponse:
    """Set all fault rates to zero."""
    provider.fault_rates.clear()
    return web.Response(status=204)


async def get_latency(provider: Provider, _request: web.Request) -> web.StreamResponse:
    """Return the latency."""
    return json_answer({"min_ms": provider.latency.min_ms, "max_ms": provider.latency.max_ms})


async def put_latency(provider: Provider, request: web.Request) -> web.StreamResponse:
    """Set the latency of /v1 calls."""
    body = await read_object(request)
    min_ms = whole_number(body, "min_ms", lowest=0, highest=MAX_LATENCY_MS)
    max_ms = whole_number(body, "max_ms", lowest=min_ms, highest=MAX_LATENCY_MS)
    provider.latency.min_ms, provider.latency.max_ms = min_ms, max_ms
    return await get_latency(provider, request)


async def get_clock(provider: Provider, _request: web.Request) -> web.StreamResponse:
    """Return the provider's time and its offset from the machine's clock."""
    clock = provider.clock
    return json_answer({"ahead_seconds": clock.ahead_seconds, "now": to_text(clock.now())})


async def put_clock(provider: Provider, request: web.Request) -> web.StreamResponse:
    """Move the clock forward. Operations whose time has come get their outcome at once."""
    body = await read_object(request)
    provider.clock.move(whole_number(body, "ahead_seconds", lowest=0, highest=MAX_AHEAD_SECONDS))
    await provider.store.durable()
    operation_lifecycle.resume(provider)
    return await get_clock(provider, request)


async def get_webhooks(provider: Provider, _request: web.Request) -> web.StreamResponse:
    """Return the webhook settings and counts."""
    return json_answer(provider.webhooks.describe())


async def put_webhooks(provider: Provider, request: web.Request) -> web.StreamResponse:
    """Change the webhook settings that the body names; the others stay."""
    body = await read_object(request)
    webhooks = provider.webhooks
    now = {
        "url": webhooks.url,
        "enabled": webhooks.enabled,
        "duplicate": webhooks.duplicate,
        "delay_ms": webhooks.delay_ms,
    }
    wanted = {**now, **body}
    if not isinstance(wanted["url"], str) or type(wanted["enabled"]) is not bool:
        raise bad_request("url must be a text and enabled true or false")
    duplicate = whole_number(wanted, "duplicate", lowest=0, highest=MAX_DUPLICATES)
    delay_ms = whole_number(wanted, "delay_ms", lowest=0, highest=MAX_LATENCY_MS)
    webhooks.url, webhooks.enabled = wanted["url"], wanted["enabled"]
    webhooks.duplicate, webhooks.delay_ms = duplicate, delay_ms
    return await get_webhooks(provider, request)
