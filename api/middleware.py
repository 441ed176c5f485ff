"""Middleware around every request: its id, the size of its body, admission, security headers, and a line in the log.

Plain ASGI: Starlette's ``BaseHTTPMiddleware`` starts two tasks and a stream per request, which costs more than all else
here together.
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
from api.limits import Admission, Limits, overloaded
from api.request_metrics import count
from api.security_headers import completed
from api.uploads import is_upload
from workflows.card_data import looks_like_card_data, mask
from workflows.errors import Detail, DomainError, InternalError, MalformedRequest
from workflows.ids import new_id

logger = logging.getLogger("api.requests")

BAD_REQUEST = 400

PERIODIC = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Probes and scrapers ask these every few seconds; their successes are logged at DEBUG, so that a service at rest is quiet."""

ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
"""A caller's own request id is taken over if it looks like one: it goes into logs and task headers."""


class RequestMiddleware:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, *, limits: Limits, max_body_bytes: int, max_upload_bytes: int) -> None:
        self._app = app
        self._limits = limits
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
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
                message["headers"] = [*headers, (b"x-request-id", request_id.encode()), *completed(headers)]
            await send(message)

        try:
            with self._limits.admitted(scope) as admission:
                await self._app(scope, self._measured(scope, receive, admission), _away(send_with_id, admission))
        except DomainError as error:
            await error_response(error)(scope, receive, send_with_id)
        except ClientDisconnect:
            status = BAD_REQUEST  # nobody is there to be told, and it was no error of ours
        except Exception:
            # Caught here, not by the framework, which would close the connection after its answer.
            logger.exception("unexpected error", extra={"request_id": request_id, "method": scope["method"]})
            if not is_answered:
                await error_response(InternalError())(scope, receive, send_with_id)
        finally:
            _log_answer(scope, status=status, request_id=request_id, seconds=time.perf_counter() - started)

    def _limit(self, scope: Scope) -> int:
        return self._max_upload_bytes if is_upload(scope["path"]) else self._max_body_bytes

    def _measured(self, scope: Scope, receive: Receive, admission: Admission) -> Receive:
        """``receive``, which raises once the body is over the path's limit, announced or not.

        While the body is still coming the request has no place among those in flight; if it finds none afterwards, 503.
        """
        limit = self._limit(scope)
        _check_announced(scope, limit)
        seen, is_whole = 0, False

        async def measured() -> Message:
            nonlocal seen, is_whole
            if is_whole:  # what comes now is only that the client has gone
                return await receive()
            message = await admission.away(receive())
            is_whole = not message.get("more_body", False)
            # As the framework's own kind of error, because it turns any other into a 400 that says nothing.
            if is_whole and admission.is_beyond:
                raise HTTPException(503) from overloaded()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    raise HTTPException(400) from _too_large(limit)
            return message

        return measured


def _away(send: Send, admission: Admission) -> Send:
    """Return ``send``, which gives up the request's place while the client reads its answer."""

    async def send_away(message: Message) -> None:
        await admission.away(send(message))

    return send_away


def _check_announced(scope: Scope, limit: int) -> None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            with suppress(ValueError):
                if int(value) > limit:
                    raise _too_large(limit)


def _too_large(limit: int) -> MalformedRequest:
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
    marks: dict[str, Any] = {
        "request_id": request_id,
        "method": scope["method"],
        # Of a path that led nowhere anything may have been typed, even a card number.
        "path": scope["path"][:200] if status < BAD_REQUEST else mask(scope["path"][:200]),
        "status": status,
        "milliseconds": round(seconds * 1000, 1),
    }
    logger.log(level, "%s answered %d", scope["method"], status, extra=marks)
