"""The development secrets of one state folder, created at its first start.

They are random per folder rather than constants in the code, because a constant would one day be copied into a deployment.
They are stored in ``secrets/`` and nowhere else; production sets its own through ``MPAC_*`` variables. A secret that a later
version adds is created when it is first missing. The others never change, because data is encrypted and servers are set up
with them.
"""

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mpac.cli.errors import UserError
from mpac.stack.state_folder import Home, command, private_folder, write_private

BYTES = 32
PEM_BEGINS, PEM_ENDS = b"-----BEGIN ", b"-----"


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
    """The secrets by name, and the paths of the key files."""

    values: dict[str, str]
    device_token_key_file: Path  # signs the access tokens of devices
    user_token_key_file: Path  # signs the users' tokens that `mpac token` issues
    user_jwks_file: Path  # its public half, with which the product checks users' tokens

    def __getitem__(self, name: str) -> str:
        return self.values[name]


def load_secrets(home: Home) -> Secrets:
    """Read the folder's secrets and create those that are missing.

    Raises ``UserError`` if a file is damaged.
    """
    folder = private_folder(home.secrets)
    found = Secrets(
        values=_values(home, folder / "secrets.json"),
        device_token_key_file=folder / "device-token-key.pem",
        user_token_key_file=folder / "user-token-key.pem",
        user_jwks_file=folder / "user-jwks.json",
    )
    files = (found.device_token_key_file, found.user_token_key_file, found.user_jwks_file)
    for file in files:
        if file.exists() and not _is_complete(file):
            raise damaged_file_error(home, file)
    if not all(file.exists() for file in files):
        _make_keys(home, found)
    return found


def damaged_file_error(home: Home, file: Path) -> UserError:
    """Return the error for a damaged file.

    A new file would not help, because it would not fit the stored data.
    """
    return UserError(
        f"{file} is damaged: restore it from a copy, or delete it together with all data of this stack with "
        f"`{command('reset', home.path)}`."
    )


def _is_complete(file: Path) -> bool:
    """Return whether a key file has its beginning and end.

    It is not parsed, because importing ``cryptography`` takes 0.1 s.
    """
    content = file.read_bytes().strip()
    if file.suffix == ".json":
        return _parse_object(content) is not None
    return content.startswith(PEM_BEGINS) and b"-----END " in content and content.endswith(PEM_ENDS)


def _parse_object(content: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(content)
    except ValueError:  # also bytes that are not text
        return None
    return found if isinstance(found, dict) else None


def _values(home: Home, file: Path) -> dict[str, str]:
    stored: dict[str, str] = {}
    if file.exists():
        read = _parse_object(file.read_bytes())
        if read is None or not all(isinstance(value, str) and value for value in read.values()):
            raise damaged_file_error(home, file)
        stored = {name: str(value) for name, value in read.items()}
    missing = MAKERS.keys() - stored.keys()
    if missing:
        stored |= {name: MAKERS[name]() for name in sorted(missing)}
        write_private(file, json.dumps(stored, indent=2) + "\n")
    return stored


def _make_keys(home: Home, found: Secrets) -> None:
    """Create the key files that are missing; the public half is derived from the private one."""
    from mpac.stack import keys  # noqa: PLC0415 - a tenth of a second, needed at the first start only

    for file in (found.device_token_key_file, found.user_token_key_file):
        if not file.exists():
            write_private(file, keys.new_private_key())
    try:
        public = keys.public_jwks(found.user_token_key_file.read_bytes())
    except ValueError:
        raise damaged_file_error(home, found.user_token_key_file) from None
    write_private(found.user_jwks_file, json.dumps(public, indent=2) + "\n")
