"""Create and check activation codes: valid once, for 15 minutes and five tries, stored as a hash.

A code is short enough to type: 12 of 31 characters, 59 bits. The hash is keyed, so codes cannot be tried against a copy of the
table, and it covers the device, so a hash that is copied to another device's row matches no code.
"""

import hashlib
import hmac
import secrets
from datetime import timedelta

ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Without 0 and O, 1, I and L, which are easily confused on paper and on small displays."""

_TYPED = {ord(letter.lower()): letter for letter in ALPHABET if letter.isalpha()} | {ord(" "): None, ord("-"): None}

LENGTH = 12
LIFE = timedelta(minutes=15)
MAX_TRIES = 5
PURPOSE = b"mpac activation code v1:"


def new_code() -> str:
    """Return a new random code."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def normalise_code(code: str) -> str:
    """Normalise a typed code: upper-case the letters of the alphabet, drop spaces and hyphens.

    A table, not ``upper()``, which would also turn other letters into letters of a code.
    """
    return code.translate(_TYPED)


def hash_code(code: str, *, device_id: str, secret: bytes) -> str:
    """Return the hash of ``code`` that is stored."""
    return hmac.new(secret, PURPOSE + f"{device_id}:{code}".encode(), hashlib.sha256).hexdigest()


def matches(code: str, code_hash: str, *, device_id: str, secret: bytes) -> bool:
    """Return whether ``code``, as it was typed, is the one that was hashed. Takes constant time."""
    return hmac.compare_digest(hash_code(normalise_code(code), device_id=device_id, secret=secret), code_hash)
