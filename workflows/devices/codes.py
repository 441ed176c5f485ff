"""Activation codes: short enough to type, good for fifteen minutes, once, and for five tries; stored only as a hash.

A code has 12 of 31 characters, 59 bits. The hash is keyed, so whoever reads the table cannot try codes against it, and
it covers the device, so a hash copied to another device's row fits nothing.
"""

import hashlib
import hmac
import secrets
from datetime import timedelta

ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Without 0 and O, 1, I and L, which are mistaken for each other on paper and on small displays."""

_TYPED = {ord(letter.lower()): letter for letter in ALPHABET if letter.isalpha()} | {ord(" "): None, ord("-"): None}

LENGTH = 12
LIFE = timedelta(minutes=15)
MAX_TRIES = 5
PURPOSE = b"mpac activation code v1:"


def new_code() -> str:
    """A fresh code."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def normalise_code(code: str) -> str:
    """Normalise a typed code: small letters of its alphabet become capitals, spaces and hyphens are dropped.

    A table and not ``upper()``, which would turn other letters into those of a code as well.
    """
    return code.translate(_TYPED)


def hash_code(code: str, *, device_id: str, secret: bytes) -> str:
    """What is stored of ``code``."""
    return hmac.new(secret, PURPOSE + f"{device_id}:{code}".encode(), hashlib.sha256).hexdigest()


def matches(code: str, code_hash: str, *, device_id: str, secret: bytes) -> bool:
    """Whether ``code``, as somebody typed it, is the one that was hashed. Takes the same time either way."""
    return hmac.compare_digest(hash_code(normalise_code(code), device_id=device_id, secret=secret), code_hash)
