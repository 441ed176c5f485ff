"""Sign webhooks as the Standard Webhooks specification demands (https://www.standardwebhooks.com)."""

import base64
import binascii
import hmac
from hashlib import sha256

PREFIX = "whsec_"


def signing_key(secret: str) -> bytes:
    """Return the key bytes: ``whsec_`` and Base64 as specified; any other text gives its own UTF-8 bytes."""
    if secret.startswith(PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except binascii.Error as error:
            raise ValueError(f"the webhook secret is not Base64 after {PREFIX}") from error
    return secret.encode()


def sign(key: bytes, body: bytes, *, event_id: str, timestamp: int) -> str:
    """Return the value of ``webhook-signature``: version 1, over id, timestamp (seconds) and the exact bytes of the body."""
    signed = b".".join((event_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, sha256)).decode()
