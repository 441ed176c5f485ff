"""Encrypt the credentials of providers at rest, so that the table and its backups do not reveal them.

AES-256-GCM under a key that HKDF derives from ``MPAC_SECRET_KEY``, so that this key serves no other purpose. The
ciphertext is bound to its row: copied to another store's row it cannot be decrypted. Credentials are never sent to a client;
answers list only the names that are set.
"""

import os

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE = b"mpac store provider credentials v1"
KEY_BYTES = 32
NONCE_BYTES = 12  # the size GCM specifies; random is safe below 2^32 changes of a store's credentials


class CredentialsUnreadable(Exception):
    """Stored credentials cannot be decrypted: ``MPAC_SECRET_KEY`` differs, or the row was tampered with."""


class Vault:
    """Encrypts and decrypts credentials of store providers. Cheap to make: one per process or per request."""

    def __init__(self, secret: bytes) -> None:
        derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE).derive(secret)
        self._cipher = AESGCM(derived)

    def seal(self, credentials: dict[str, str], *, row_id: str) -> bytes | None:
        """Return the ciphertext for the row ``row_id``, or ``None`` if there are no credentials."""
        if not credentials:
            return None
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, orjson.dumps(credentials), row_id.encode())

    def open(self, sealed: bytes | None, *, row_id: str) -> dict[str, str]:
        """Return the credentials of the row ``row_id``. Raises ``CredentialsUnreadable``."""
        if sealed is None:
            return {}
        try:
            clear = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], row_id.encode())
        except InvalidTag as error:
            raise CredentialsUnreadable(
                f"the credentials of {row_id} cannot be decrypted with this MPAC_SECRET_KEY"
            ) from error
        opened: dict[str, str] = orjson.loads(clear)
        return opened
