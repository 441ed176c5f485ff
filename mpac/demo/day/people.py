"""People: users with a token, over HTTP. What is refused tells who asked for what."""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

import aiohttp

from mpac.demo.guests import BrokeOff
from mpac.terminal import PREFIX

LOOK_EVERY_SECONDS = 0.15
PATIENCE_SECONDS = 60.0  # for what beat and the workers do by themselves; a few seconds each, but on a busy machine
GOOD = (200, 201)
MOST_SHOWN = 300  # characters of an answer that is not what it should be


class Person:
    """One user. ``name`` is the token's subject, and so what reports and histories call them."""

    def __init__(self, name: str, *, api_url: str, token: str, session: aiohttp.ClientSession) -> None:
        self.name = name
        self._base = api_url.rstrip("/") + PREFIX
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session = session

    async def read(self, path: str) -> Any:
        """What a GET answers. Raises ``BrokeOff``."""
        status, body = await self.ask("GET", path)
        return self._good("GET", path, status, body)

    async def post(self, path: str, body: Any = None, **form: Any) -> Any:
        """What a POST answers, with a key of its own. Raises ``BrokeOff``."""
        status, answer = await self.ask("POST", path, body, **form)
        return self._good("POST", path, status, answer)

    async def put(self, path: str, body: Any) -> Any:
        """Send a PUT and return its answer. Raises ``BrokeOff``."""
        status, answer = await self.ask("PUT", path, body)
        return self._good("PUT", path, status, answer)

    async def file(self, path: str) -> bytes:
        """A file. Raises ``BrokeOff``."""
        async with self._session.get(self._base + path, headers=self._headers) as answer:
            content = await answer.read()
            self._good("GET", path, answer.status, content[:200])
            return content

    async def ask(self, method: str, path: str, body: Any = None, **form: Any) -> tuple[int, Any]:
        """Status and body, whatever they are."""
        headers = {**self._headers, "Idempotency-Key": uuid.uuid4().hex}
        url = self._base + path
        async with self._session.request(method, url, json=body, headers=headers, **form) as answer:
            return answer.status, await answer.json()

    async def wait_for(self, path: str, *, until: Callable[[Any], bool]) -> Any:
        """Read until what is there is right. Raises ``BrokeOff`` where it does not come."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not until(found := await self.read(path)):
            if time.monotonic() > deadline:
                raise BrokeOff(
                    f"{path} was not what it should become after {PATIENCE_SECONDS:g} s: {str(found)[:MOST_SHOWN]}"
                )
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        return found

    def _good(self, method: str, path: str, status: int, body: Any) -> Any:
        if status not in GOOD:
            raise BrokeOff(f"{method} {path} by {self.name} was answered with {status} {body}")
        return body
