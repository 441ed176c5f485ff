"""Load the public keys for users' tokens: a JWKS from a URL or a file, read again when it is old.

| what is found                     | then                                                                          |
|-----------------------------------|-------------------------------------------------------------------------------|
| a key set                         | it replaces the previous keys; an empty one removes them all                    |
| nothing, or no readable key set   | the last keys stay valid for ``GRACE``, so that a restart of the login system   |
|                                   | locks no user out                                                               |
| a key that cannot be used         | it is left out and logged: another type or curve, too short, not for signatures |
| two keys of one id and algorithm  | neither is used: it cannot be decided which one was meant                       |
"""

import asyncio
import logging
from collections import Counter
from datetime import timedelta
from typing import Any

import aiohttp
import jwt

from workflows.settings import Settings
from workflows.tenants.strict_jwt import loads_unique

logger = logging.getLogger(__name__)

LIFE_FROM_URL = timedelta(minutes=5)
LIFE_FROM_FILE = timedelta(seconds=10)  # reading a file is cheap
GRACE = timedelta(hours=1)  # how long the last valid keys are used after they could last be read
PAUSE_SECONDS = 1.0  # between two searches for an unknown key, so that many forged tokens do not cause many fetches
FETCH_TIMEOUT_SECONDS = 3
MAX_BYTES = 1_048_576
MIN_RSA_BITS = 2_048

MEMBERS = {"EC": ("kty", "crv", "x", "y"), "RSA": ("kty", "n", "e")}
ALGORITHM = {("EC", "P-256"): "ES256", ("RSA", None): "RS256"}
"""The accepted kinds of keys, each with its only algorithm.

Never a shared secret, because the set is public.
"""

Keys = dict[tuple[str, str], "jwt.PyJWK"]


class UserKeys:
    """The keys of the login system by key id and algorithm. One per process."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.user_jwks_file
        self._url = settings.user_jwks_url
        self._life = LIFE_FROM_FILE if self._file else LIFE_FROM_URL
        self._keys: Keys = {}
        self._read_at = self._tried_at = float("-inf")
        self._reading = asyncio.Lock()

    async def find(self, kid: str, algorithm: str) -> "jwt.PyJWK | None":
        """Return the key, reading the set again if it is old or has no such key."""
        name = kid, algorithm
        if self._is_old(name):
            async with self._reading:
                if self._is_old(name):  # another request may have read it meanwhile
                    await self._read()
        return self._keys.get(name)

    @property
    def fresh_for(self) -> timedelta:
        """The time for which the keys may still be used before they are read again."""
        return max(timedelta(0), self._life - timedelta(seconds=_now() - self._tried_at))

    def _is_old(self, name: tuple[str, str]) -> bool:
        return _now() - self._tried_at > (self._life.total_seconds() if name in self._keys else PAUSE_SECONDS)

    async def _read(self) -> None:
        try:
            self._keys = usable_keys(loads_unique(await self._text()))
            self._read_at = _now()
        except (OSError, aiohttp.ClientError, ValueError, RecursionError) as error:
            marks = {"event": "user_keys.unreadable", "error": type(error).__name__}
            logger.warning("the keys of the login system could not be read", extra=marks)
            if _now() - self._read_at > GRACE.total_seconds():
                self._keys = {}
        self._tried_at = _now()

    async def _text(self) -> bytes:
        if self._file:
            return await asyncio.to_thread(self._file.read_bytes)
        if not self._url:
            return b'{"keys": []}'
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._url) as response:
            response.raise_for_status()
            text = bytearray()
            async for piece in response.content.iter_chunked(MAX_BYTES):
                text += piece
                if len(text) > MAX_BYTES:
                    raise ValueError("the key set is too large")
            return bytes(text)


def usable_keys(document: Any) -> Keys:
    """Return the usable keys of a JWKS document. Raises ``ValueError`` if it is not one."""
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a JWKS")
    found = [(name, key) for one in document["keys"] if (name := _name(one)) and (key := _key(one, name[1]))]
    times = Counter(name for name, _ in found)
    keys = {name: key for name, key in found if times[name] == 1}
    if len(keys) != len(document["keys"]):
        marks = {"event": "user_keys.left_out", "usable": len(keys), "keys": len(document["keys"])}
        logger.warning("keys of the login system cannot be used", extra=marks)
    return keys


def _name(one: Any) -> tuple[str, str] | None:
    if not isinstance(one, dict) or not all(isinstance(one.get(part, ""), str) for part in ("kty", "crv", "kid")):
        return None
    algorithm = ALGORITHM.get((one.get("kty", ""), one.get("crv")))
    uses = one.get("key_ops", ["verify"])
    verifies = one.get("use", "sig") == "sig" and isinstance(uses, list) and "verify" in uses
    if algorithm is None or not verifies or one.get("alg", algorithm) != algorithm:
        return None
    return one.get("kid", ""), algorithm


def _key(one: dict[str, Any], algorithm: str) -> "jwt.PyJWK | None":
    public = {member: one.get(member) for member in MEMBERS[one["kty"]]}
    try:
        key = jwt.PyJWK(public, algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        return None
    return key if one["kty"] == "EC" or key.key.key_size >= MIN_RSA_BITS else None


def _now() -> float:
    return asyncio.get_running_loop().time()
