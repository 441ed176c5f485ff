"""Send all HTTP requests of the demonstration, and repeat them as terminals must.

| result of an attempt                             | then                                                    |
|--------------------------------------------------|---------------------------------------------------------|
| none: refused, reset, cut off, timed out         | the same request again                                  |
| 429, a 5xx, 409 ``IDEMPOTENCY_KEY_IN_USE``       | the same request again, not before ``Retry-After``      |
| 401 to a terminal                                | a new token and the same request again, three times     |
| anything else                                    | it is the answer, and the caller decides                |

"The same request" has the same ``Idempotency-Key``: a POST gets its key before its first attempt.
"""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from mpac.demo.retry import WITHIN_SECONDS, TransientFailure, retry_until_answered
from mpac.devtools.terminal import PREFIX, Answer, Terminal, TokenRefused

ATTEMPT_SECONDS = 30.0  # longer than the longest `?wait=`; a later answer counts as lost
LIMITLESS = 0  # connections: each terminal has its own
UNAUTHORIZED, CONFLICT, TOO_MANY, SERVER_ERROR = 401, 409, 429, 500
RENEWALS = 3  # new tokens that a call may request before it accepts a 401 as the answer
TRANSIENT_CONFLICT = "IDEMPOTENCY_KEY_IN_USE"
NO_ANSWER = (aiohttp.ClientError, OSError, json.JSONDecodeError, UnicodeDecodeError)  # OSError includes time-outs


@dataclass(frozen=True, slots=True)
class Upload:
    """A file with its form fields. Unlike aiohttp's form it can be sent more than once."""

    fields: Mapping[str, str]
    filename: str
    content: bytes

    def form(self) -> aiohttp.FormData:
        """Return the form for one attempt."""
        form = aiohttp.FormData()
        for name, value in self.fields.items():
            form.add_field(name, value)
        form.add_field("file", self.content, filename=self.filename, content_type="text/csv")
        return form


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request, which is sent unchanged by each retry. ``key`` is its idempotency key."""

    method: str
    path: str
    body: Any
    upload: Upload | None
    key: str


Send = Callable[[Request], Awaitable[Answer]]
"""A function that makes one attempt."""


class HttpCaller:
    """Send requests to one server with one set of credentials."""

    def __init__(self, name: str, send: Send, *, renew: Callable[[], None] | None = None) -> None:
        self.name = name
        self._send = send
        self._renew = renew

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        upload: Upload | None = None,
        key: str = "",
        counted: str = "request",
        within: float = WITHIN_SECONDS,
    ) -> Answer:
        """Send a request until it is answered, and return the answer. Raises ``TimedOut``."""
        request = Request(method, path, body, upload, key or (uuid.uuid4().hex if method == "POST" else ""))
        renewals = RENEWALS if self._renew else 0

        async def attempt() -> Answer:
            nonlocal renewals
            try:
                answer = await self._send(request)
            except NO_ANSWER as error:
                raise TransientFailure(f"no answer ({type(error).__name__})") from error
            if answer.status == UNAUTHORIZED and renewals and self._renew:
                renewals -= 1
                self._renew()
                raise TransientFailure(f"{answer.status} {answer.body}")
            if is_transient(answer):
                raise TransientFailure(f"{answer.status} {answer.body}", pause_seconds=retry_after(answer))
            return answer

        return await retry_until_answered(
            attempt, what=f"{method} {path} by {self.name}", counted=counted, within=within
        )


class CallerFactory:
    """Create callers that share one session."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["CallerFactory"]:
        """Open the session, and close it at the end of the block."""
        timeout = aiohttp.ClientTimeout(total=ATTEMPT_SECONDS)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=LIMITLESS), timeout=timeout) as session:
            yield cls(session)

    def terminal(self, api_url: str, device: Mapping[str, str]) -> HttpCaller:
        """Return the caller for a device, which authenticates with its own key."""
        terminal = Terminal(api_url, device, session=self._session)

        async def send(request: Request) -> Answer:
            try:
                return await terminal.call(request.method, request.path, body=request.body, key=request.key or None)
            except TokenRefused as refused:
                return refused.answer

        return HttpCaller(terminal.device_id, send, renew=terminal.forget_token)

    def user(self, api_url: str, token: str, *, name: str) -> HttpCaller:
        """Return the caller for a user with a token."""
        return self._with_bearer(name, api_url.rstrip("/") + PREFIX, token)

    def provider(self, sandbox_url: str, key: str, *, name: str) -> HttpCaller:
        """Return a caller of the sandbox provider; ``key`` is its control key or an API key."""
        return self._with_bearer(name, sandbox_url.rstrip("/"), key)

    def _with_bearer(self, name: str, base: str, token: str) -> HttpCaller:
        credentials = {"Authorization": f"Bearer {token}"}

        async def send(request: Request) -> Answer:
            headers = {**credentials, **({"Idempotency-Key": request.key} if request.key else {})}
            sent = {"data": request.upload.form()} if request.upload else {"json": request.body}
            async with self._session.request(request.method, base + request.path, headers=headers, **sent) as response:
                return await _read(response)

        return HttpCaller(name, send)


def is_transient(answer: Answer) -> bool:
    """Return whether the same request may get another answer later."""
    if answer.status == CONFLICT and isinstance(answer.body, dict):
        error = answer.body.get("error")
        return isinstance(error, dict) and error.get("code") == TRANSIENT_CONFLICT
    return answer.status == TOO_MANY or answer.status >= SERVER_ERROR


def retry_after(answer: Answer) -> float:
    """Return the seconds after which the server wants the next attempt; 0 if it does not say."""
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdecimal() else 0.0


async def _read(response: aiohttp.ClientResponse) -> Answer:
    content = await response.read()
    is_json = response.content_type.endswith("json")
    return Answer(response.status, json.loads(content) if is_json and content else content, response.headers)
