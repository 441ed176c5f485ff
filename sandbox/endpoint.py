"""What every route has around it: the key, the latency, the request id, and errors that never show our insides.

A plain function around each handler rather than aiohttp middlewares: those cost several coroutines per call, and the
charge route is the one place in the sandbox where microseconds count.
"""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from sandbox.answers import refusal
from sandbox.errors import Refused
from sandbox.provider import Provider

log = logging.getLogger("sandbox")

Handler = Callable[[Provider, web.Request], Awaitable[web.StreamResponse]]
WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

UNAUTHORIZED = Refused(401, "unauthorized", message="a valid bearer key is required")
INTERNAL = Refused(500, "internal_error", message="something went wrong")


def public(provider: Provider, handler: Handler) -> WebHandler:
    """A route for anybody on this machine, answered at once."""

    async def endpoint(request: web.Request) -> web.StreamResponse:
        return await _answer(provider, request, handler)

    return endpoint


def guarded(provider: Provider, handler: Handler) -> WebHandler:
    """A route for the product: with the key, and as slow as a provider is."""
    expected = f"Bearer {provider.settings.api_key}".encode() if provider.settings.api_key else b""

    async def endpoint(request: web.Request) -> web.StreamResponse:
        if expected and not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected):
            return _with_request_id(request, refusal(UNAUTHORIZED))
        wait_seconds = provider.latency.draw_seconds()
        if wait_seconds:
            # Before the deed: a call that is lost on the way may then still be cancelled, as in the field.
            await asyncio.sleep(wait_seconds)
        return await _answer(provider, request, handler)

    return endpoint


async def _answer(provider: Provider, request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        answer = await handler(provider, request)
    except Refused as refused:
        answer = refusal(refused)
    except Exception:
        log.exception("a call failed: %s %s", request.method, request.path)
        answer = refusal(INTERNAL)
    return _with_request_id(request, answer)


def _with_request_id(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    request_id = request.headers.get("X-Request-Id")
    if request_id is not None and not answer.prepared:
        answer.headers["X-Request-Id"] = request_id
    return answer
