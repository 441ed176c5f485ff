"""Load the public keys for users' tokens, a JWKS from a URL or a file, and read it again when it is old.

| what is found                     | effect                                                                        |
|-----------------------------------|-------------------------------------------------------------------------------|
| a key set                         | it replaces the previous keys; an empty set removes all keys                    |
| nothing, or no readable key set   | the last keys stay valid for ``GRACE``, so that a restart of the login system   |
|                                   | locks out no user                                                               |
| a key that cannot be used (wrong  | the key is left out and logged                                                  |
| type or curve, too short, or not  |                                                                               |
| for signatures)                   |                                                                               |
| two keys with the same id and     | neither is used, because it is unknown which one was meant                      |
| algorithm                         |                                                                               |
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
PAUSE_SECONDS = 1.0  # between two fetches for unknown keys, so that many forged tokens do not cause many fetches
FETCH_TIMEOUT_SECONDS = 3
MAX_BYTES = 1_048_576
MIN_RSA_BITS = 2_048

MEMBERS = {"EC": ("kty", "crv", "x", "y"), "RSA": ("kty", "n", "e")}
ALGORITHM = {("EC", "P-256"): "ES256", ("RSA", None): "RS256"}
"""The accepted types of keys, each with the only algorithm allowed for it.

There is no shared secret among them, because the key set is public.
"""

Keys = dict[tuple[str, str], "jwt.PyJWK"]


class UserKeys:
    """The keys of the login system, by key id and algorithm. A process has one instance."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.user_jwks_file
        self._url = settings.user_jwks_url
        self._life = LIFE_FROM_FILE if self._file else LIFE_FROM_URL
        self._keys: Keys = {}
        self._read_at = self._tried_at = float("-inf")
        self._reading = asyncio.Lock()

    async def find(self, kid: str, algorithm: str) -> "jwt.PyJWK | None":
        """Return the key, or ``None`` if there is none.

        Read the key set again if it is old or does not have the key.
        """
        name = kid, algorithm
        if self._is_old(name):
            async with self._reading:
                if self._is_old(name):  # another request may have read the set meanwhile
                    await self._read()
        return self._keys.get(name)

    @property
    def fresh_for(self) -> timedelta:
        """How long the keys that were read last may still be used. Then they are read again."""
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
    """Return the usable keys of a JWKS. Raises ``ValueError`` if ``document`` is not a JWKS."""
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a JWKS")
    found = [(name, key) for jwk in document["keys"] if (name := _key_name(jwk)) and (key := _parse_key(jwk, name[1]))]
    times = Counter(name for name, _ in found)
    keys = {name: key for name, key in found if times[name] == 1}
    if len(keys) != len(document["keys"]):
        marks = {"event": "user_keys.left_out", "usable": len(keys), "keys": len(document["keys"])}
        logger.warning("keys of the login system cannot be used", extra=marks)
    return keys


def _key_name(jwk: Any) -> tuple[str, str] | None:
    if not isinstance(jwk, dict) or not all(isinstance(jwk.get(part, ""), str) for part in ("kty", "crv", "kid")):
        return None
    algorithm = ALGORITHM.get((jwk.get("kty", ""), jwk.get("crv")))
    uses = jwk.get("key_ops", ["verify"])
    verifies = jwk.get("use", "sig") == "sig" and isinstance(uses, list) and "verify" in uses
    if algorithm is None or not verifies or jwk.get("alg", algorithm) != algorithm:
        return None
    return jwk.get("kid", ""), algorithm


def _parse_key(jwk: dict[str, Any], algorithm: str) -> "jwt.PyJWK | None":
    public = {member: jwk.get(member) for member in MEMBERS[jwk["kty"]]}
    try:
        key = jwt.PyJWK(public, algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        return None
    return key if jwk["kty"] == "EC" or key.key.key_size >= MIN_RSA_BITS else None


def _now() -> float:
    return asyncio.get_running_loop().time()
