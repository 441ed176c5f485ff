"""Wrap every request: set its id, limit its body, admit it, add security headers, answer unexpected errors, and log it.

The middleware is plain ASGI. Starlette's ``BaseHTTPMiddleware`` starts two tasks and a stream per request, which costs more
than everything else here together.
"""

import logging
import re
import time
from contextlib import suppress
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_response
from api.limits import Admission, Limits, overloaded_error
from api.request_metrics import count
from api.security_headers import missing_headers
from api.uploads import is_upload
from workflows.card_data import looks_like_card_data, mask
from workflows.errors import Detail, DomainError, InternalError, MalformedRequest
from workflows.ids import new_id
from workflows.logs import log_info

logger = logging.getLogger("api.requests")

BAD_REQUEST = 400

PERIODIC = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Paths that probes and scrapers request every few seconds. Their successes are logged at DEBUG, to keep the log readable."""

ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
"""A request id that is accepted from a caller. It is written to logs and headers of tasks."""


class RequestMiddleware:
    """ASGI middleware that does for each request what the docstring of this module lists."""

    def __init__(self, app: ASGIApp, *, limits: Limits, max_body_bytes: int, max_upload_bytes: int) -> None:
        self._app = app
        self._limits = limits
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status, is_answered = 500, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, is_answered
            if message["type"] == "http.response.start":
                status, is_answered = message["status"], True
                headers = message["headers"]
                message["headers"] = [*headers, (b"x-request-id", request_id.encode()), *missing_headers(headers)]
            await send(message)

        try:
            with self._limits.admit(scope) as admission:
                await self._app(
                    scope, self._limit_body(scope, receive, admission), _send_without_slot(send_with_id, admission)
                )
        except DomainError as error:
            await error_response(error)(scope, receive, send_with_id)
        except ClientDisconnect:
            status = BAD_REQUEST  # logged as 400, because the client disconnected and the service is not at fault
        except Exception:
            # Caught here rather than by the framework, which would close the connection after the response.
            context = {"event": "api.unexpected_error", "request_id": request_id, "method": scope["method"]}
            logger.exception("unexpected error", extra=context)
            if not is_answered:
                await error_response(InternalError())(scope, receive, send_with_id)
        finally:
            _log_answer(scope, status=status, request_id=request_id, seconds=time.perf_counter() - started)

    def _limit(self, scope: Scope) -> int:
        return self._max_upload_bytes if is_upload(scope["path"]) else self._max_body_bytes

    def _limit_body(self, scope: Scope, receive: Receive, admission: Admission) -> Receive:
        """Return a ``receive`` that raises once the body exceeds the limit of the path.

        A body whose announced length exceeds the limit is refused at once. While the body arrives, the request has no slot; if
        no slot is free afterwards, it gets 503.
        """
        limit = self._limit(scope)
        _check_announced(scope, limit)
        seen, is_whole = 0, False

        async def measured() -> Message:
            nonlocal seen, is_whole
            if is_whole:  # the only message that can follow is a disconnect
                return await receive()
            message = await admission.wait_without_slot(receive())
            is_whole = not message.get("more_body", False)
            # Raised as an ``HTTPException``, because FastAPI turns any other error into a 400 without details.
            if is_whole and admission.is_over_limit:
                raise HTTPException(503) from overloaded_error()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    raise HTTPException(400) from _too_large_error(limit)
            return message

        return measured


def _send_without_slot(send: Send, admission: Admission) -> Send:
    """Return a ``send`` that releases the request's slot while the client reads the response."""

    async def send_without_slot(message: Message) -> None:
        await admission.wait_without_slot(send(message))

    return send_without_slot


def _check_announced(scope: Scope, limit: int) -> None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            with suppress(ValueError):
                if int(value) > limit:
                    raise _too_large_error(limit)


def _too_large_error(limit: int) -> MalformedRequest:
    return MalformedRequest(Detail("body", f"Must be at most {limit // 1024} KiB"))


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and ACCEPTABLE_ID.fullmatch(value) and not looks_like_card_data(value.decode()):
            return str(value.decode())
    return new_id("request")


def _log_answer(scope: Scope, *, status: int, request_id: str, seconds: float) -> None:
    count(scope["method"], status, seconds)
    level = logging.DEBUG if status < BAD_REQUEST and scope["path"] in PERIODIC else logging.INFO
    if not logger.isEnabledFor(level):
        return
    context: dict[str, Any] = {
        "request_id": request_id,
        "method": scope["method"],
        # A path that was not found may contain anything that a person typed, even a card number.
        "path": scope["path"][:200] if status < BAD_REQUEST else mask(scope["path"][:200]),
        "status": status,
        "milliseconds": round(seconds * 1000, 1),
    }
    if level == logging.INFO:
        log_info(logger, f"{scope['method']} answered {status}", context)
    else:
        logger.log(level, "%s answered %d", scope["method"], status, extra=context)
