"""The development secrets of one state folder, made at its first start.

Random per folder rather than constants in the code: a constant gets copied into a deployment one day. They live in
``secrets/`` and nowhere else; production gives its own through ``MPAC_*`` variables. A secret that a later version
adds is made when it is first missed; the others stay, because data is encrypted and servers are set up with them.
"""

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mpac.stack.home import Home, private_folder, write_private

BYTES = 32


def _password() -> str:
    return secrets.token_urlsafe(24)  # URL-safe: it stands in database and broker URLs unquoted


def _key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(BYTES)).decode()


def _webhook_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(BYTES)).decode()  # the form of Standard Webhooks


MAKERS: dict[str, Callable[[], str]] = {
    "database_password": _password,
    "broker_password": _password,
    "flower_password": _password,
    "sandbox_api_key": _password,
    "sandbox_control_key": _password,
    "sandbox_webhook_secret": _webhook_secret,
    "secret_key": _key,  # the product derives its keyed hashes from it
}


@dataclass(frozen=True, slots=True)
class Secrets:
    """The values by name, and where the key files are."""

    values: dict[str, str]
    device_token_key_file: Path  # signs the access tokens of devices
    user_token_key_file: Path  # signs the users' tokens that `mpac token` issues
    user_jwks_file: Path  # its public half, as the product checks users' tokens

    def __getitem__(self, name: str) -> str:
        return self.values[name]


def load_secrets(home: Home) -> Secrets:
    """Read the folder's secrets, making those it lacks."""
    folder = private_folder(home.secrets)
    found = Secrets(
        values=_values(folder / "secrets.json"),
        device_token_key_file=folder / "device-token-key.pem",
        user_token_key_file=folder / "user-token-key.pem",
        user_jwks_file=folder / "user-jwks.json",
    )
    if not (found.device_token_key_file.exists() and found.user_jwks_file.exists()):
        _make_keys(found)
    return found


def _values(file: Path) -> dict[str, str]:
    stored: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    missing = MAKERS.keys() - stored.keys()
    if missing:
        stored |= {name: MAKERS[name]() for name in sorted(missing)}
        write_private(file, json.dumps(stored, indent=2) + "\n")
    return stored


def _make_keys(found: Secrets) -> None:
    from mpac.stack import keys  # noqa: PLC0415 - a tenth of a second, needed at the first start only

    write_private(found.device_token_key_file, keys.new_private_key())
    user_key = keys.new_private_key()
    write_private(found.user_token_key_file, user_key)
    write_private(found.user_jwks_file, json.dumps(keys.public_jwks(user_key), indent=2) + "\n")
