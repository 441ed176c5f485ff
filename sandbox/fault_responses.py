"""Send faulty responses: no answer, a connection reset, an invalid body, a slow answer.

Each imitates a failure of a provider, or of the network before it. ``sandbox.pipeline`` decides which one a call gets.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

from sandbox.errors import Refused
from sandbox.requests import names_in
from sandbox.responses import JSON_HEADERS, error_response

HANG_SECONDS = 120.0  # longer than any client's timeout; then the connection is closed, still without an answer
CHECK_SECONDS = 0.25  # a hanging call is released at most this long after its client has disconnected
DRIPS = 10
LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then sends RST instead of FIN
GARBAGE = b'\x00\xff{"status": "succ<html>502 Bad'


class HangingRequests:
    """The calls that are never answered. One timer checks all of them for disconnected clients while there are any."""

    def __init__(self) -> None:
        self._hanging: dict[asyncio.Future[None], web.Request] = {}
        self._check_timer: asyncio.TimerHandle | None = None
        self._closing = False

    async def hang(self, request: web.Request) -> None:
        """Wait until the client disconnects, ``HANG_SECONDS`` have passed or the sandbox stops."""
        if self._closing:
            return
        loop = asyncio.get_running_loop()
        released = loop.create_future()
        self._hanging[released] = request
        if self._check_timer is None:
            self._check_timer = loop.call_later(CHECK_SECONDS, self._release_disconnected)
        try:
            async with asyncio.timeout(HANG_SECONDS):
                await released
        except TimeoutError:
            pass
        finally:
            del self._hanging[released]

    def close(self) -> None:
        """Release all calls, and let no call hang from now on."""
        self._closing = True
        if self._check_timer is not None:
            self._check_timer.cancel()
        for released in self._hanging:
            if not released.done():
                released.set_result(None)

    def _release_disconnected(self) -> None:
        for released, request in self._hanging.items():
            transport = request.transport
            if (transport is None or transport.is_closing()) and not released.done():
                released.set_result(None)
        loop = asyncio.get_running_loop()
        self._check_timer = loop.call_later(CHECK_SECONDS, self._release_disconnected) if self._hanging else None


async def never_answer(request: web.Request, hanging_requests: HangingRequests) -> web.StreamResponse:
    """Send no answer, and abort the connection once ``HangingRequests.hang`` returns."""
    await hanging_requests.hang(request)
    return _abort(request)


async def error_500(request: web.Request, _hanging_requests: HangingRequests) -> web.StreamResponse:
    """Return a 500, which does not say whether anything was done."""
    return error_response(Refused(500, "internal_error", message="something went wrong"), await names_in(request))


async def reset(request: web.Request, _hanging_requests: HangingRequests) -> web.StreamResponse:
    """Reset the connection (RST) instead of answering."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    return _abort(request)


async def invalid_json(_request: web.Request, _hanging_requests: HangingRequests) -> web.StreamResponse:
    """Return a 200 whose body is not the JSON that its content type declares."""
    return web.Response(body=GARBAGE, headers=JSON_HEADERS)


RESPONSES: dict[str, Callable[[web.Request, HangingRequests], Awaitable[web.StreamResponse]]] = {
    "timeout_before_charge": never_answer,
    "timeout_after_charge": never_answer,
    "error_500_before_charge": error_500,
    "error_500_after_charge": error_500,
    "reset_after_charge": reset,
    "garbage_after_charge": invalid_json,
}


async def slow_response(request: web.Request, answer: web.Response, *, milliseconds: int) -> web.StreamResponse:
    """Send a valid answer a few bytes at a time, spread over ``milliseconds``."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    stream = web.StreamResponse(status=answer.status, headers=answer.headers)
    stream.content_length = len(body)
    size = -(-len(body) // DRIPS)
    try:
        await stream.prepare(request)
        for start in range(0, len(body), size):
            await asyncio.sleep(milliseconds / 1_000 / DRIPS)
            await stream.write(body[start : start + size])
        await stream.write_eof()
    except ConnectionError:
        pass  # the client has disconnected; the operation is not undone
    return stream


def _abort(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # aiohttp needs a response object, although nobody reads it
