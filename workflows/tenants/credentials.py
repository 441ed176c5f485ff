"""Credentials of providers, encrypted at rest: whoever reads the table, or a backup of it, learns only that there are some.

AES-256-GCM under a key that HKDF derives from ``MPAC_SECRET_KEY``, so that this key serves no other purpose. The
ciphertext is bound to its row: moved to another store's row it no longer opens. It is never sent back to anybody;
answers name the keys that are set.
"""

import os

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE = b"mpac store provider credentials v1"
KEY_BYTES = 32
NONCE_BYTES = 12  # what GCM is specified for; random, and no store changes its credentials 2^32 times


class CredentialsUnreadable(Exception):
    """The stored credentials do not open with this key: another ``MPAC_SECRET_KEY``, or a row that was tampered with."""


class Vault:
    """Seals and opens the credentials of store providers. Cheap to make: one per process or per request."""

    def __init__(self, secret: bytes) -> None:
        derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE).derive(secret)
        self._cipher = AESGCM(derived)

    def seal(self, credentials: dict[str, str], *, row_id: str) -> bytes | None:
        """The ciphertext for the row ``row_id``; ``None`` where there is nothing to keep."""
        if not credentials:
            return None
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, orjson.dumps(credentials), row_id.encode())

    def open(self, sealed: bytes | None, *, row_id: str) -> dict[str, str]:
        """The credentials of the row ``row_id``. Raises ``CredentialsUnreadable``."""
        if sealed is None:
            return {}
        try:
            clear = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], row_id.encode())
        except InvalidTag as error:
            raise CredentialsUnreadable(f"the credentials of {row_id} do not open with this MPAC_SECRET_KEY") from error
        opened: dict[str, str] = orjson.loads(clear)
        return opened
