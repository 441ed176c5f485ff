"""Issue users' tokens for development, signed as the login system would sign them.

The key belongs to the state folder (``secrets/user-token-key.pem``); the product knows only its public half. If the product is
configured for another login system, it accepts only that system's tokens, and this module can't issue any.
"""

import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import jwt

from mpac.cli.errors import UserError
from mpac.stack.environment import USER_TOKENS, with_users_own
from mpac.stack.keys import public_jwks
from mpac.stack.secrets import damaged_file_error
from mpac.stack.state_folder import Home, command, suggest_home

ROLES = ("staff", "store_manager", "merchant_admin", "psp_admin", "system_op")
LIFE_HOURS = 12  # a working day: long enough for a demo, and expired tomorrow


@dataclass(frozen=True, slots=True)
class Tenant:
    """The tenant of a user; ids that do not matter are empty."""

    psp_id: str = ""
    merchant_id: str = ""
    store_id: str = ""


NEEDED: dict[str, tuple[str, ...]] = {
    "staff": ("psp_id", "merchant_id", "store_id"),
    "store_manager": ("psp_id", "merchant_id", "store_id"),
    "merchant_admin": ("psp_id", "merchant_id"),
    "psp_admin": ("psp_id",),
    "system_op": (),
}
"""Role → the tenant ids in its tokens."""


class UserTokens:
    """Issue tokens signed with one key."""

    def __init__(self, home: Home) -> None:
        """Read the key. Raises ``UserError`` if the folder has none or a damaged one."""
        file = home.secrets / "user-token-key.pem"
        self._key = _read(file)
        named = with_users_own(USER_TOKENS)
        self._issuer, self._audience = (named[name] for name in USER_TOKENS)
        try:
            self._kid = public_jwks(self._key)["keys"][0]["kid"]
        except ValueError:
            raise damaged_file_error(home, file) from None

    def issue(self, role: str, tenant: Tenant, *, hours: float = LIFE_HOURS, subject: str = "") -> str:
        """Return a token of ``role`` in ``tenant``, valid for ``hours``.

        ``subject`` names the user, by default at random.
        """
        issued = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject or f"{role}-{uuid.uuid4().hex[:8]}",
            "role": role,
            "iat": issued,
            "exp": issued + int(hours * 3600),
            **{name: getattr(tenant, name) for name in NEEDED[role]},
        }
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._kid})


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        home = file.parent.parent
        raise UserError(
            f"There is no signing key at {file}: start a local stack there once with `{command('up', home)}`."
            f"{suggest_home(home)}"
        ) from error
