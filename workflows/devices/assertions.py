"""Client assertions: the JWT by which a device proves that it holds its key (RFC 7523, ``private_key_jwt``).

| claim        | must be                                                                                 |
|--------------|-----------------------------------------------------------------------------------------|
| ``iss, sub`` | the device's ``client_id``, both                                                          |
| ``aud``      | one of the accepted audiences, or a list with one of them                                 |
| ``exp``      | in the future, at most five minutes ahead: so long a used ``jti`` is remembered             |
| ``jti``      | 1 to 200 characters, used once                                                            |

Signed with ES256 and nothing else.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from workflows.clock import now
from workflows.errors import Detail, NotAuthenticated
from workflows.ids import WELL_FORMED

MAX_LIFE = timedelta(minutes=5)
LEEWAY = timedelta(seconds=5)  # a terminal's clock and ours
MAX_JTI_LENGTH = 200
OWN_AUDIENCE = "mpac-api"
TOKEN_PATH = "/api/v1/auth/device/token"  # noqa: S105 - a path


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a good assertion says. Of its ``jti`` only a hash is kept: it may be any text."""

    client_id: str
    jti_hash: str
    expires_at: datetime

    @property
    def identity(self) -> tuple[str, str]:
        """What may be used once."""
        return self.client_id, self.jti_hash

    def row(self) -> dict[str, Any]:
        """Its row among the used ones."""
        return {"client_id": self.client_id, "jti": self.jti_hash, "expires_at": self.expires_at}


def audiences(origin: str) -> frozenset[str]:
    """The accepted values of ``aud``: our name, the token endpoint's path, and its URL as the device reached it.

    ``origin`` is the host (and port) of the request; whether TLS ended in front of us we cannot know, so both schemes.
    """
    bases = (f"http://{origin}", f"https://{origin}")
    return frozenset({OWN_AUDIENCE, TOKEN_PATH, *bases, *(base + TOKEN_PATH for base in bases)})


def claimed_client(assertion: str) -> str:
    """Whose assertion this claims to be, still unproved. Raises ``NotAuthenticated`` where it cannot be read."""
    try:
        client_id = jwt.decode(assertion, options={"verify_signature": False}).get("sub")
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:  # the last: JSON nested without end
        raise refused("Must be a JWT") from error
    if not isinstance(client_id, str) or not WELL_FORMED.fullmatch(client_id):
        raise refused("Its iss and sub must be the client_id")
    return client_id


def verify_assertion(assertion: str, *, public_key_pem: str, client_id: str, accepted: frozenset[str]) -> Assertion:
    """What the assertion says, once its signature and claims are good. Raises ``NotAuthenticated``."""
    try:
        claims = jwt.decode(
            assertion,
            public_key_pem,
            algorithms=["ES256"],
            audience=accepted,
            leeway=LEEWAY,
            options={"require": ["iss", "sub", "aud", "exp", "jti"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise refused(_why(error)) from error
    if claims["iss"] != client_id or claims["sub"] != client_id:
        raise refused("Its iss and sub must be the client_id")
    return Assertion(client_id, _jti_hash(claims["jti"]), _expiry(claims["exp"]))


def _expiry(exp: Any) -> datetime:
    seconds = int(exp)
    if seconds > (now() + MAX_LIFE + LEEWAY).timestamp():
        raise refused("Its exp must be at most 5 minutes ahead")
    return datetime.fromtimestamp(seconds, UTC) + LEEWAY  # as long as it would be accepted


def _jti_hash(jti: Any) -> str:
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI_LENGTH:
        raise refused(f"Its jti must be a text of 1 to {MAX_JTI_LENGTH} characters")
    return hashlib.sha256(jti.encode(errors="surrogatepass")).hexdigest()


def refused(issue: str) -> NotAuthenticated:
    """The error for an assertion that is not good."""
    return NotAuthenticated(Detail("client_assertion", issue), message="This client assertion is not accepted")


_WHY: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "It has expired; make a new one for each token",
    jwt.InvalidAudienceError: f"Its aud must be the URL or the path of this endpoint, or {OWN_AUDIENCE}",
    jwt.InvalidAlgorithmError: "It must be signed with ES256",
    jwt.MissingRequiredClaimError: "It must have iss, sub, aud, exp and jti",
    jwt.ImmatureSignatureError: "Its iat or nbf lies in the future; set the clock of the device",
}


def _why(error: Exception) -> str:
    return _WHY.get(type(error), "Its signature must be good and made with the device's key")
