"""Bearer tokens: from the text of a token to the caller it stands for.

Two issuers are known. Device tokens are signed by us (ES256) and live two minutes. User tokens are signed by the login
system (RS256 or ES256) and checked against its published keys. A token that was found good is remembered until it
expires: a signature costs more than all else in a request, and what can change meanwhile (a device's status) is asked
of the database each time anyway.
"""

import asyncio
import json
from datetime import timedelta
from typing import Any

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from workflows.card_data import looks_like_card_data
from workflows.clock import now
from workflows.errors import NotAuthenticated
from workflows.ids import WELL_FORMED
from workflows.settings import Settings
from workflows.tenants.caller import SCOPES, Caller, CallerRole, Scope

DEVICE_ISSUER = "mpac-devices"
AUDIENCE = "mpac-api"
ALGORITHMS = ("ES256", "RS256")  # never "none", and never a shared secret that a public key could be taken for
LEEWAY = timedelta(seconds=5)  # clocks of two machines; short beside a life of 120 s
MAX_REMEMBERED = 20_000  # tokens, about 20 MB; forgotten all at once, which costs one signature each
KEYS_LIFE = timedelta(minutes=5)  # how old the login system's keys may be before they are fetched again
KEYS_PAUSE_SECONDS = 1.0  # between two looks for a key that is not there: forged tokens in a flood cause no flood
MAX_SUBJECT_LENGTH = 200
FETCH_TIMEOUT_SECONDS = 3

NEEDED: dict[Scope, tuple[str, ...]] = {
    Scope.STORE: ("merchant_id", "store_id"),
    Scope.MERCHANT: ("merchant_id",),
    Scope.PSP: ("psp_id",),
    Scope.SYSTEM: (),
}
"""Which tenant a user's token must name, by the scope of its role."""


class Tokens:
    """Issues device tokens and verifies all tokens. One per process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._device_key = _load_device_key(settings)
        self._remembered: dict[str, tuple[Caller, float]] = {}
        self._user_keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()

    @property
    def device_token_seconds(self) -> int:
        """The life of a device's token."""
        return self._settings.device_token_seconds

    def issue_device_token(self, *, device_id: str, psp_id: str, merchant_id: str, store_id: str) -> str:
        """A new access token for a device, good for ``device_token_seconds``."""
        issued = now()
        claims = {
            "iss": DEVICE_ISSUER,
            "aud": AUDIENCE,
            "sub": device_id,
            "iat": issued,
            "exp": issued + timedelta(seconds=self._settings.device_token_seconds),
            "psp_id": psp_id,
            "merchant_id": merchant_id,
            "store_id": store_id,
        }
        return jwt.encode(claims, self._device_key, algorithm="ES256")

    async def verify(self, token: str) -> Caller:
        """The caller that ``token`` stands for. Raises ``NotAuthenticated`` where it is not good (any more)."""
        remembered = self._remembered.get(token)
        if remembered and remembered[1] > now().timestamp():
            return remembered[0]
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
            if claims.get("iss") == DEVICE_ISSUER:
                caller, expiry = self._device(token)
            else:
                caller, expiry = await self._user(token)
        except jwt.PyJWTError as error:
            raise NotAuthenticated(message=_why(error)) from error
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:  # JSON nested without end
            raise NotAuthenticated() from error
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[token] = (caller, expiry)
        return caller

    def _device(self, token: str) -> tuple[Caller, float]:
        claims = jwt.decode(
            token,
            self._device_key.public_key(),
            algorithms=["ES256"],
            audience=AUDIENCE,
            issuer=DEVICE_ISSUER,
            leeway=LEEWAY,
            options={"require": ["exp", "sub"]},
        )
        tenant = {name: claims[name] for name in ("psp_id", "merchant_id", "store_id")}
        return Caller(claims["sub"], CallerRole.DEVICE, **tenant), float(claims["exp"])

    async def _user(self, token: str) -> tuple[Caller, float]:
        key = await self._user_key(str(jwt.get_unverified_header(token).get("kid") or ""))
        if key is None:
            raise NotAuthenticated(message="This token was signed with a key that is not known here")
        claims = jwt.decode(
            token,
            key,
            algorithms=list(ALGORITHMS),
            leeway=LEEWAY,
            options={"require": ["exp", "sub"], "verify_aud": False},
        )
        # Not remembered beyond the life of the keys: once the login system has withdrawn one, its tokens end with it.
        return caller_from(claims), min(float(claims["exp"]), (now() + KEYS_LIFE).timestamp())

    async def _user_key(self, kid: str) -> "jwt.PyJWK | None":
        """The login system's key ``kid``. Its keys are read again when they are old or when one is missing."""
        if self._is_old(kid):
            async with self._fetching:
                if self._is_old(kid):  # whoever waited here finds what the one before has fetched
                    self._user_keys = await self._read_user_keys() or self._user_keys
                    self._fetched_at = asyncio.get_running_loop().time()
        return self._user_keys.get(kid)

    def _is_old(self, kid: str) -> bool:
        age_seconds = asyncio.get_running_loop().time() - self._fetched_at
        return age_seconds > (KEYS_LIFE.total_seconds() if kid in self._user_keys else KEYS_PAUSE_SECONDS)

    async def _read_user_keys(self) -> "dict[str, jwt.PyJWK]":
        try:
            text = await self._read_jwks()
            keys = jwt.PyJWKSet.from_dict(json.loads(text)).keys if text else []
        except (OSError, aiohttp.ClientError, ValueError, TypeError, AttributeError, jwt.PyJWTError):  # no JWKS at all
            return {}  # those that are known already stay good; without any, every user's token is refused
        return {str(key.key_id or ""): key for key in keys}

    async def _read_jwks(self) -> str:
        if self._settings.user_jwks_file:
            return await asyncio.to_thread(self._settings.user_jwks_file.read_text)
        if not self._settings.user_jwks_url:
            return ""
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(self._settings.user_jwks_url) as response,
        ):
            response.raise_for_status()
            return await response.text()


def caller_from(claims: dict[str, Any]) -> Caller:
    """The user that verified ``claims`` describe. Raises ``NotAuthenticated`` where the role or its tenant is missing."""
    try:
        role = CallerRole[str(claims["role"]).upper()]
    except KeyError as error:
        raise NotAuthenticated(message="This token names no role that is known here") from error
    if role is CallerRole.DEVICE:
        raise NotAuthenticated(message="A device gets its tokens from /api/v1/auth/device/token")
    needed = NEEDED[SCOPES[role]]
    missing = [name for name in needed if not WELL_FORMED.fullmatch(str(claims.get(name) or ""))]
    if missing:
        raise NotAuthenticated(message=f"This token must name its {' and '.join(missing)}")
    subject = str(claims["sub"])
    if not subject.isprintable() or not 0 < len(subject) <= MAX_SUBJECT_LENGTH:  # it goes into history rows
        raise NotAuthenticated(message=f"This token's sub must be a text of 1 to {MAX_SUBJECT_LENGTH} characters")
    if looks_like_card_data(subject):
        raise NotAuthenticated(message="This token's sub looks like a card number, which is never stored")
    return Caller(subject, role, **{name: str(claims[name]) for name in needed})


def _load_device_key(settings: Settings) -> EllipticCurvePrivateKey:
    if settings.device_token_key_file is None:
        raise ValueError("MPAC_DEVICE_TOKEN_KEY_FILE must name the PEM file of an EC P-256 private key")
    key = load_pem_private_key(settings.device_token_key_file.read_bytes(), password=None)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise TypeError("MPAC_DEVICE_TOKEN_KEY_FILE must hold an EC P-256 private key")
    return key


def _why(error: jwt.PyJWTError) -> str:
    if isinstance(error, jwt.ExpiredSignatureError):
        return "This token has expired; get a new one"
    return "Send a valid bearer token"
