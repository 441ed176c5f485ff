"""Users' tokens for development, signed as the login system would sign them.

The key is the state folder's own (``secrets/user-token-key.pem``); the product knows only its public half. Where the
users come from another login system, its tokens are the only ones, and nothing here can make them.
"""

import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import jwt

from mpac.cli.errors import UserError
from mpac.stack.environment import USER_TOKENS, with_users_own
from mpac.stack.home import Home, command, near_home
from mpac.stack.keys import public_jwks
from mpac.stack.secrets import damaged

ROLES = ("staff", "store_manager", "merchant_admin", "psp_admin", "system_op")
LIFE_HOURS = 12  # a working day: long enough for a demo, and gone tomorrow


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose user it is; empty where it does not matter."""

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
"""Which tenant ids a token of each role carries."""


class UserTokens:
    """Issues tokens with one key."""

    def __init__(self, home: Home) -> None:
        """Raises ``UserError`` if the folder has no key or a damaged one."""
        file = home.secrets / "user-token-key.pem"
        self._key = _read(file)
        named = with_users_own(USER_TOKENS)
        self._issuer, self._audience = (named[name] for name in USER_TOKENS)
        try:
            self._kid = public_jwks(self._key)["keys"][0]["kid"]
        except ValueError:
            raise damaged(home, file) from None

    def issue(self, role: str, tenant: Tenant, *, hours: float = LIFE_HOURS, subject: str = "") -> str:
        """A token of ``role`` in ``tenant``, good for ``hours``; ``subject`` names the user, or chance does."""
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
            f"There is no key to sign with at {file}: start a local stack there once with `{command('up', home)}`."
            f"{near_home(home)}"
        ) from error
