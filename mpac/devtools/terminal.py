"""Call the API as a terminal, with access tokens that are requested with a device's private key.

The demonstration and the tests use it, and scripts can::

    seed = json.loads(subprocess.check_output(["mpac", "seed", "--json"]))
    async with aiohttp.ClientSession() as session:
        terminal = Terminal(api_url, seed["devices"][0], session=session)
        answer = await terminal.call("POST", "/payments", body={"amount": 1000, "method": {"type": "cash"}}, key="1")
        answer.status, answer.body["id"]

A token is reused until shortly before it expires, and concurrent calls share the request for a new one. The module needs only
aiohttp and PyJWT, nothing of the product.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key

PREFIX = "/api/v1"
TOKEN_PATH = f"{PREFIX}/auth/device/token"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 60  # the product accepts up to 300
SPARE_SECONDS = 10  # a token is replaced this long before it expires, so that it outlives the request that uses it


class TokenRefused(Exception):
    """The product issued no token to this device; the message is its answer."""

    def __init__(self, answer: "Answer") -> None:
        super().__init__(f"{answer.status}: {answer.body}")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status, the parsed JSON body (``None`` without one), headers."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Terminal:
    """One device. ``device`` has ``device_id``, ``client_id`` and ``private_key_pem`` as in ``mpac seed --json``."""

    def __init__(self, api_url: str, device: Mapping[str, str], *, session: aiohttp.ClientSession) -> None:
        self.device_id = device["device_id"]
        self.client_id = device["client_id"]
        self._key: Any = load_pem_private_key(device["private_key_pem"].encode(), password=None)
        self._api_url = api_url.rstrip("/")
        self._session = session
        self._token = ""
        self._good_until = 0.0
        self._token_lock = asyncio.Lock()

    def assertion(self, **claims: Any) -> str:
        """Return a fresh client assertion; ``claims`` replace its own."""
        issued = int(time.time())
        own = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self._api_url + TOKEN_PATH,
            "iat": issued,
            "exp": issued + ASSERTION_SECONDS,
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode({**own, **claims}, self._key, algorithm="ES256")

    async def token(self) -> str:
        """Return an access token that is valid for a while. Raises ``TokenRefused``."""
        async with self._token_lock:
            if time.monotonic() >= self._good_until:
                answer = await self.request_token(self.assertion())
                if answer.status != 200:  # noqa: PLR2004 - OK
                    raise TokenRefused(answer)
                self._token = answer.body["access_token"]
                self._good_until = time.monotonic() + answer.body["expires_in"] - SPARE_SECONDS
        return self._token

    def forget_token(self) -> None:
        """Request a new token at the next call, for instance because the product answered 401."""
        self._good_until = 0.0

    async def request_token(self, assertion: str) -> Answer:
        """Exchange ``assertion`` for a token and return the answer, whatever it is."""
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        async with self._session.post(self._api_url + TOKEN_PATH, data=form) as response:
            return await _read(response)

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call ``path`` (below ``/api/v1``) as this device; ``key`` is the ``Idempotency-Key``."""
        sent = {"Authorization": f"Bearer {await self.token()}", **(headers or {})}
        if key is not None:
            sent["Idempotency-Key"] = key
        url = f"{self._api_url}{PREFIX}{path}"
        async with self._session.request(method, url, json=body, headers=sent) as response:
            return await _read(response)


async def _read(response: aiohttp.ClientResponse) -> Answer:
    content = await response.read()
    return Answer(response.status, json.loads(content) if content else None, response.headers)
