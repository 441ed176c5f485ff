"""Call the API as a user with a token. An error names the user and the request."""

from collections.abc import Awaitable, Callable
from typing import Any

from mpac.demo.http_client import CONFLICT, HttpCaller, Upload
from mpac.demo.problems import UnexpectedAnswer
from mpac.demo.retry import wait_until

GOOD = (200, 201)
DUPLICATE = "DUPLICATE_RESOURCE"


class User:
    """One user. The name of ``caller`` is the token's subject, and so the name in reports and histories."""

    def __init__(self, caller: HttpCaller) -> None:
        self.name = caller.name
        self._caller = caller

    async def read(self, path: str) -> Any:
        """Return the answer to a GET. Raises ``UnexpectedAnswer``, ``TimedOut``."""
        status, body = await self.request("GET", path)
        return self._require_success("GET", path, status, body)

    async def post(self, path: str, body: Any = None, *, upload: Upload | None = None) -> Any:
        """Return the answer to a POST. Raises ``UnexpectedAnswer``, ``TimedOut``."""
        status, answer = await self.request("POST", path, body, upload=upload)
        return self._require_success("POST", path, status, answer)

    async def create_once(self, path: str, body: Any, *, existing: Callable[[], Awaitable[Any]]) -> Any:
        """Create a resource that may exist only once, and return it.

        These routes do not store answers for a repeated request. If the resource exists, an earlier attempt created it and its
        answer was lost, so ``existing`` reads it. Raises ``UnexpectedAnswer``, ``TimedOut``.
        """
        status, answer = await self.request("POST", path, body)
        if status == CONFLICT and answer["error"]["code"] == DUPLICATE:
            return await existing()
        return self._require_success("POST", path, status, answer)

    async def put(self, path: str, body: Any) -> Any:
        """Return the answer to a PUT. Raises ``UnexpectedAnswer``, ``TimedOut``."""
        status, answer = await self.request("PUT", path, body)
        return self._require_success("PUT", path, status, answer)

    async def download(self, path: str) -> bytes:
        """Return a file. Raises ``UnexpectedAnswer``, ``TimedOut``."""
        content: bytes = await self.read(path)
        return content

    async def request(
        self, method: str, path: str, body: Any = None, *, upload: Upload | None = None
    ) -> tuple[int, Any]:
        """Send a request, and return the status and body of any answer. Raises ``TimedOut``."""
        answer = await self._caller.call(method, path, body=body, upload=upload)
        return answer.status, answer.body

    async def wait_for(self, path: str, *, until: Callable[[Any], bool], counted: str) -> Any:
        """Read until ``until`` accepts the answer, and return it. Raises ``UnexpectedAnswer``, ``TimedOut``."""
        return await wait_until(lambda: self.read(path), until, what=f"{path} for {self.name}", counted=counted)

    def _require_success(self, method: str, path: str, status: int, body: Any) -> Any:
        if status not in GOOD:
            raise UnexpectedAnswer(f"{method} {path} by {self.name} was answered with {status} {body}")
        return body
