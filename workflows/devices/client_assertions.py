"""Check client assertions: JWTs by which devices prove that they hold their keys (RFC 7523, method ``private_key_jwt``).

| claim            | must be                                                                                    |
|------------------|--------------------------------------------------------------------------------------------|
| ``iss, sub``     | both the device's ``client_id``                                                              |
| ``aud``          | our public address, or the URL of the token endpoint, or a list that contains one of them    |
| ``exp``          | in the future, at most five minutes ahead                                                    |
| ``nbf, iat``     | not in the future, if they are present                                                       |
| ``jti``          | 1 to 200 characters, used once                                                               |

The only algorithm is ES256. A device's clock may be ahead or behind by ``MPAC_DEVICE_CLOCK_TOLERANCE_SECONDS``. A ``jti`` is
stored for longer than its assertion can be accepted. All claims are checked before the device is looked up. The signature is
checked last, because it costs more than everything else.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from workflows.clock import now
from workflows.errors import CredentialRefused, Detail, NotAuthenticated
from workflows.ids import WELL_FORMED
from workflows.settings import Settings
from workflows.tenants.strict_jwt import read_parts

MAX_LIFE = timedelta(minutes=5)
REMEMBERED_BEYOND = timedelta(minutes=1)
"""How much longer a used ``jti`` is stored, in case the database's clock, by which it is deleted, is ahead of ours, which
checks ``exp``."""
MAX_JTI_LENGTH = 200
MESSAGE = "This client assertion is not accepted"
TOKEN_PATH = "/api/v1/auth/device/token"  # noqa: S105 - a path


@dataclass(frozen=True, slots=True)
class Assertion:
    """The claims of an assertion that passed the checks. Only a hash of its ``jti`` is stored, because it may be any text."""

    client_id: str
    jti_hash: str
    expires_at: datetime

    @property
    def identity(self) -> tuple[str, str]:
        """The pair of client id and hashed ``jti``, which may be used only once."""
        return self.client_id, self.jti_hash

    def row(self) -> dict[str, Any]:
        """Return the row of ``used_assertions`` that marks this assertion as used."""
        return {"client_id": self.client_id, "jti": self.jti_hash, "expires_at": self.expires_at}


class Assertions:
    """Checks the claims of assertions, with the public address and clock tolerance of this installation."""

    def __init__(self, settings: Settings) -> None:
        """Read the settings.

        Raises ``ValueError``, with a message for the operator, if ``MPAC_PUBLIC_URL`` is not set.
        """
        if not settings.public_url:
            raise ValueError(
                "MPAC_PUBLIC_URL must be set to the address that terminals reach this API at, for example "
                "https://pay.example: it is the audience of their assertions"
            )
        self._endpoint = settings.public_url + TOKEN_PATH
        self._audiences = frozenset({settings.public_url, settings.public_url + "/", self._endpoint})
        self._tolerance = timedelta(seconds=settings.device_clock_tolerance_seconds)

    def read(self, assertion: str) -> Assertion:
        """Parse ``assertion`` and check its claims, but not its signature. Raises ``NotAuthenticated``."""
        try:
            header, claims = read_parts(assertion)
        except (ValueError, RecursionError) as error:  # RecursionError: JSON that is nested too deeply
            raise assertion_error("Must be a JWT") from error
        if header.get("alg") != "ES256":
            raise assertion_error("The assertion must be signed with ES256")
        missing = [name for name in ("iss", "sub", "aud", "exp", "jti") if claims.get(name) is None]
        if missing:
            raise assertion_error("The assertion must have iss, sub, aud, exp and jti")
        client_id = claims["sub"]
        if not isinstance(client_id, str) or not WELL_FORMED.fullmatch(client_id) or claims["iss"] != client_id:
            raise assertion_error("Its iss and sub must be the client_id")
        if not self._is_for_us(claims["aud"]):
            raise assertion_error(f"Its aud must be {self._endpoint}, our public address")
        return Assertion(client_id, _jti_hash(claims["jti"]), self._check_times(claims))

    def _is_for_us(self, aud: Any) -> bool:
        named = aud if isinstance(aud, list) else [aud]
        return any(isinstance(audience, str) and audience in self._audiences for audience in named)

    def _check_times(self, claims: Mapping[str, Any]) -> datetime:
        """Check ``iat``, ``nbf`` and ``exp``, and return the time until which the ``jti`` must be stored."""
        ours, tolerance = now(), self._tolerance
        try:
            times = {
                name: datetime.fromtimestamp(claims[name], UTC) for name in ("iat", "nbf", "exp") if name in claims
            }
        except (ValueError, OverflowError, OSError) as error:  # a time outside the range of datetime
            raise assertion_error("Its exp must be at most 5 minutes ahead") from error
        for name in ("iat", "nbf"):
            if name in times and times[name] > ours + tolerance:
                raise assertion_error(f"Its {name} lies in the future. {self._compare_clocks(name, times[name], ours)}")
        if times["exp"] <= ours - tolerance:
            theirs = "iat" if "iat" in times else "exp"
            clocks = self._compare_clocks(theirs, times[theirs], ours)
            raise assertion_error(f"The assertion has expired; make a new one for each token. {clocks}")
        if times["exp"] > ours + MAX_LIFE + tolerance:
            raise assertion_error(
                f"Its exp must be at most 5 minutes ahead. {self._compare_clocks('exp', times['exp'], ours)}"
            )
        return times["exp"] + tolerance + REMEMBERED_BEYOND

    def _compare_clocks(self, name: str, theirs: datetime, ours: datetime) -> str:
        apart = round(abs((theirs - ours).total_seconds()))
        side = "ahead of" if theirs > ours else "behind"
        return (
            f"Its {name} is {_format_time(theirs)}, our clock says {_format_time(ours)}: {apart} s {side} us, "
            f"and {self._tolerance.total_seconds():.0f} s are tolerated; set the clock of the device"
        )


def check_signature(assertion: str, *, public_key_pem: str) -> None:
    """Raise ``NotAuthenticated`` unless ``assertion`` was signed with the device's key."""
    try:
        jwt.api_jws.decode(assertion, public_key_pem, algorithms=["ES256"])
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise signature_error() from error


def _format_time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _jti_hash(jti: Any) -> str:
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI_LENGTH:
        raise assertion_error(f"Its jti must be a text of 1 to {MAX_JTI_LENGTH} characters")
    return hashlib.sha256(jti.encode(errors="surrogatepass")).hexdigest()


def signature_error() -> NotAuthenticated:
    """Return the error for a signature that the device's key did not make, and for an unknown device."""
    return assertion_error("Its signature must be valid and made with the device's key")


def replay_error() -> CredentialRefused:
    """Return the error for an assertion with a valid signature that was used before."""
    issue = "Its jti was used before; make a new assertion for each token"
    return CredentialRefused(Detail("client_assertion", issue), message=MESSAGE)


def assertion_error(issue: str) -> NotAuthenticated:
    """Return the error for an assertion that is not acceptable; ``issue`` says why."""
    return NotAuthenticated(Detail("client_assertion", issue), message=MESSAGE)
