"""Wrap the handler of every route: check the key, add latency, repeat the request id, and answer errors.

The wrappers are plain functions rather than aiohttp middlewares, which cost several coroutines per call. On the charge route
microseconds count.
"""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from sandbox.context import SandboxContext
from sandbox.errors import Refused
from sandbox.requests import MAX_BODY_BYTES, names_in, names_in_path
from sandbox.responses import error_response

log = logging.getLogger("sandbox")

REPEATED = ("Mpac-Call-Id", "X-Request-Id")
"""Request headers that the answer repeats: the caller's id of this call, and the request id for logs."""

Handler = Callable[[SandboxContext, web.Request], Awaitable[web.StreamResponse]]
WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

UNAUTHORIZED = Refused(401, "unauthorized", message="a valid bearer key is required")
TOO_LARGE = Refused(413, "body_too_large", message=f"a body may have {MAX_BODY_BYTES} bytes")
INTERNAL = Refused(500, "internal_error", message="something went wrong")


def public_route(context: SandboxContext, handler: Handler) -> WebHandler:
    """Wrap the handler of a route that requires no key and has no latency."""

    async def endpoint(request: web.Request) -> web.StreamResponse:
        return await _answer(context, request, handler)

    return endpoint


def control_route(context: SandboxContext, handler: Handler) -> WebHandler:
    """Wrap the handler of a route that requires the control key and has no latency."""
    expected = f"Bearer {context.settings.control_key}".encode()

    async def endpoint(request: web.Request) -> web.StreamResponse:
        if not context.settings.control_key or not hmac.compare_digest(_header(request, "Authorization"), expected):
            return await _answer(context, request, _unauthorized)
        return await _answer(context, request, handler)

    return endpoint


def product_route(context: SandboxContext, handler: Handler) -> WebHandler:
    """Wrap the handler of a route for the product.

    The route requires the API key and has a provider's latency.
    """
    expected = f"Bearer {context.settings.api_key}".encode() if context.settings.api_key else b""

    async def endpoint(request: web.Request) -> web.StreamResponse:
        if expected and not hmac.compare_digest(_header(request, "Authorization"), expected):
            return await _answer(context, request, _unauthorized)
        return await _answer(context, request, delayed)

    async def delayed(context: SandboxContext, request: web.Request) -> web.StreamResponse:
        if request.body_exists:
            # The request caches its body. After the latency, the client may have disconnected, and it could not be read.
            await request.read()
        wait_seconds = context.latency.draw_seconds()
        if wait_seconds:
            # Before the handler, so that the product can cancel a call that is still on its way, as with real providers.
            await asyncio.sleep(wait_seconds)
        return await handler(context, request)

    return endpoint


async def _unauthorized(_context: SandboxContext, _request: web.Request) -> web.StreamResponse:
    raise UNAUTHORIZED


async def _answer(context: SandboxContext, request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        answer = await handler(context, request)
    except Refused as refused:
        answer = error_response(refused, await names_in(request))
    except web.HTTPRequestEntityTooLarge:
        answer = error_response(TOO_LARGE, names_in_path(request))
    except ConnectionError:
        answer = web.Response()  # the client disconnected before its request was complete, so nobody reads the answer
    except Exception:
        log.exception("a call failed: %s %s", request.method, request.path)
        answer = error_response(INTERNAL, names_in_path(request))
    return _with_ids(request, answer)


def _with_ids(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    for name in REPEATED:
        value = request.headers.get(name)
        if value is not None and not answer.prepared and value.isascii() and value.isprintable():
            answer.headers[name] = value
    return answer


def _header(request: web.Request, name: str) -> bytes:
    # Bytes that are not UTF-8 arrive as surrogates, for which a plain encode() raises.
    return request.headers.get(name, "").encode(errors="surrogateescape")
