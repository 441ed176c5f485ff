"""Sign webhooks by the Standard Webhooks specification (https://www.standardwebhooks.com)."""

import base64
import binascii
import hmac
from hashlib import sha256

PREFIX = "whsec_"


def signing_key(secret: str) -> bytes:
    """Return the bytes of the key.

    ``secret`` is ``whsec_`` and Base64; of any other text, the UTF-8 bytes are the key.
    """
    if secret.startswith(PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except binascii.Error as error:
            raise ValueError(f"the webhook secret is not Base64 after {PREFIX}") from error
    return secret.encode()


def sign(key: bytes, body: bytes, *, event_id: str, timestamp: int) -> str:
    """Return the value of ``webhook-signature`` (version 1). ``timestamp`` is in seconds."""
    signed = b".".join((event_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, sha256)).decode()
