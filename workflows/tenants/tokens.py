"""Issue device tokens, and verify the bearer tokens of devices and users.

There are two issuers. This service signs device tokens (ES256), which are valid for two minutes. The login system signs user
tokens (RS256 or ES256), which are checked against its published keys, its issuer and our audience. A valid token is cached
until it expires, because to check a signature costs more than the rest of a request. What can change meanwhile (a device's
status and key) is read from the database on each request anyway.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from workflows.card_data import looks_like_card_data
from workflows.clock import now
from workflows.errors import CredentialRefused, NotAuthenticated
from workflows.ids import WELL_FORMED
from workflows.settings import Settings
from workflows.tenants.caller import SCOPES, TENANT_IDS, Caller, CallerRole
from workflows.tenants.jwks import UserKeys
from workflows.tenants.strict_jwt import read_parts

DEVICE_ISSUER = "mpac-devices"
AUDIENCE = "mpac-api"
ALGORITHMS = (
    "ES256",
    "RS256",
)  # never "none", and never HMAC, because an attacker could use the public key as the HMAC secret
LEEWAY = timedelta(
    seconds=5
)  # the difference of the clocks of two API hosts; short compared with a token's life of 120 s
USER_LEEWAY = timedelta(seconds=60)  # the difference of the login system's clock and ours
MAX_CACHED = 20_000  # tokens, about 20 MB; a full cache is emptied, and each token is verified once more
MAX_SUBJECT_LENGTH = 200

ROLES: Mapping[str, CallerRole] = {
    spelling: role
    for role in CallerRole
    if role is not CallerRole.DEVICE
    for spelling in (role.name.lower(), role.name)
}
"""The spellings of users' roles: ``store_manager``, and ``STORE_MANAGER`` as the platform writes it.

They are compared exactly, because upper-casing would also turn other letters, such as U+017F, into the letters of a role.
"""


class Tokens:
    """Issues device tokens and verifies all tokens. A process has one instance."""

    def __init__(self, settings: Settings) -> None:
        """Load the keys.

        Raises ``ValueError``, with a message for the operator, if a setting is missing or invalid.
        """
        _check_user_settings(settings)
        self._settings = settings
        self._device_key = _load_device_key(settings)
        self._cache: dict[str, tuple[Caller, float]] = {}
        self._user_keys = UserKeys(settings)

    @property
    def device_token_seconds(self) -> int:
        """The lifetime of a device's token in seconds."""
        return self._settings.device_token_seconds

    def issue_device_token(
        self, *, device_id: str, psp_id: str, merchant_id: str, store_id: str, client_id: str = ""
    ) -> str:
        """Return a new access token for a device.

        It is valid for ``device_token_seconds``, and only while the device has this ``client_id``. It enters the cache of
        valid tokens, so that this process does not check its own signature, which takes 0.12 ms.
        """
        issued = now()
        expires = issued + timedelta(seconds=self._settings.device_token_seconds)
        claims = {
            "iss": DEVICE_ISSUER,
            "aud": AUDIENCE,
            "sub": device_id,
            "iat": issued,
            "exp": expires,
            "psp_id": psp_id,
            "merchant_id": merchant_id,
            "store_id": store_id,
            **({"client_id": client_id} if client_id else {}),
        }
        token = jwt.encode(claims, self._device_key, algorithm="ES256")
        caller = Caller(device_id, CallerRole.DEVICE, psp_id, merchant_id, store_id, client_id)
        self._remember(token, caller, float(int(expires.timestamp())))  # as the claim has it, in whole seconds
        return token

    async def verify(self, token: str) -> Caller:
        """Return the caller that ``token`` identifies.

        Raises ``NotAuthenticated`` if the token is invalid or has expired.
        """
        cached = self._cache.get(token)
        if cached and cached[1] > now().timestamp():
            return cached[0]
        try:
            header, claims = read_parts(token)
            if claims.get("iss") == DEVICE_ISSUER:
                caller, expiry = self._device(token)
            else:
                caller, expiry = await self._user(token, header)
        except jwt.ExpiredSignatureError as error:  # PyJWT checks the signature first, so the signature is valid
            raise CredentialRefused(message="This token has expired; get a new one") from error
        except jwt.PyJWTError as error:
            raise NotAuthenticated(message=_reason(error)) from error
        except (
            ValueError,
            TypeError,
            KeyError,
            OverflowError,
            RecursionError,
        ) as error:  # RecursionError: JSON that is nested too deeply
            raise NotAuthenticated() from error
        self._remember(token, caller, expiry)
        return caller

    def _remember(self, token: str, caller: Caller, expiry: float) -> None:
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[token] = (caller, expiry)

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
        # Tokens of the previous release lack it; they are valid for two minutes.
        client_id = claims.get("client_id", "")
        return Caller(claims["sub"], CallerRole.DEVICE, **tenant, client_id=client_id), float(claims["exp"])

    async def _user(self, token: str, header: dict[str, Any]) -> tuple[Caller, float]:
        kid, algorithm = header.get("kid", ""), header.get("alg")
        if algorithm not in ALGORITHMS or not isinstance(kid, str):
            raise NotAuthenticated()
        key = await self._user_keys.find(kid, algorithm)
        if key is None:
            raise NotAuthenticated(message="This token was signed with a key that is not known here")
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            leeway=USER_LEEWAY,
            issuer=self._settings.user_token_issuer,
            audience=self._settings.user_token_audience,
            options={"require": ["exp", "sub", "iss", "aud"]},
        )
        # Not cached longer than the keys, because tokens are invalid once the login system has removed their key.
        return caller_from(claims), min(float(claims["exp"]), (now() + self._user_keys.fresh_for).timestamp())


def caller_from(claims: dict[str, Any]) -> Caller:
    """Return the user that the verified ``claims`` describe.

    Raises ``NotAuthenticated`` if the role, a tenant id or the subject is missing or invalid.
    """
    spelling = claims.get("role")
    if spelling in ("device", "DEVICE"):
        raise NotAuthenticated(message="A device gets its tokens from /api/v1/auth/device/token")
    role = ROLES.get(spelling) if isinstance(spelling, str) else None
    if role is None:
        raise NotAuthenticated(message="The role in this token is missing or unknown")
    needed = TENANT_IDS[SCOPES[role]]
    missing = [name for name in needed if not _is_id(claims.get(name))]
    if missing:
        raise NotAuthenticated(message=f"This token must name its {' and '.join(missing)}")
    subject = claims["sub"]  # stored in history rows
    if not isinstance(subject, str) or not subject.isprintable() or not 0 < len(subject) <= MAX_SUBJECT_LENGTH:
        raise NotAuthenticated(message=f"This token's sub must be a text of 1 to {MAX_SUBJECT_LENGTH} characters")
    if looks_like_card_data(subject):
        raise NotAuthenticated(message="This token's sub looks like a card number, which is never stored")
    return Caller(subject, role, **{name: claims[name] for name in needed})


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and WELL_FORMED.fullmatch(value) is not None


def _check_user_settings(settings: Settings) -> None:
    names = ("user_token_issuer", "user_token_audience")
    missing = [f"MPAC_{name.upper()}" for name in names if not getattr(settings, name)]
    if missing and (settings.user_jwks_file or settings.user_jwks_url):
        raise ValueError(
            f"{' and '.join(missing)} must be set if users' tokens are checked against MPAC_USER_JWKS_FILE or "
            "MPAC_USER_JWKS_URL: the values that the login system writes into iss and aud"
        )
    if settings.user_token_issuer == DEVICE_ISSUER:
        raise ValueError(f"MPAC_USER_TOKEN_ISSUER must not be {DEVICE_ISSUER}, which issues the tokens of devices")


def _load_device_key(settings: Settings) -> EllipticCurvePrivateKey:
    if settings.device_token_key_file is None:
        raise ValueError("MPAC_DEVICE_TOKEN_KEY_FILE must name the PEM file of an EC P-256 private key")
    try:
        key = load_pem_private_key(settings.device_token_key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"MPAC_DEVICE_TOKEN_KEY_FILE cannot be used: {error}") from error
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("MPAC_DEVICE_TOKEN_KEY_FILE must hold an EC P-256 private key")
    return key


_REASONS: Mapping[type[Exception], str] = {
    jwt.ImmatureSignatureError: "This token is not valid yet: its iat or nbf lies in the future",
    jwt.InvalidIssuerError: "This token is from another issuer than MPAC_USER_TOKEN_ISSUER",
    jwt.InvalidAudienceError: "This token is for another audience than MPAC_USER_TOKEN_AUDIENCE",
}


def _reason(error: jwt.PyJWTError) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"This token has no {error.claim}"
    return _REASONS.get(type(error), "Send a valid bearer token")
