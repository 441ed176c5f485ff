"""Create signing keys for development: EC P-256, as ES256 requires, and their public JWK set.

It is a separate module because ``cryptography`` takes 0.1 s to import and is needed at the first start only.
"""

import base64
import hashlib
import json

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

COORDINATE_BYTES = 32  # of P-256


def new_private_key() -> bytes:
    """Return a new private key as PKCS #8 PEM."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_key(private_key_pem: bytes) -> str:
    """Return the public half of a private key as PEM."""
    return (
        _load(private_key_pem)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def public_jwks(private_key_pem: bytes) -> dict[str, list[dict[str, str]]]:
    """Return the JWK set of the key's public half.

    ``kid`` is the RFC 7638 thumbprint of the key, so it depends on the key alone.
    """
    numbers = _load(private_key_pem).public_key().public_numbers()
    members = {"crv": "P-256", "kty": "EC", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    kid = _base64url(hashlib.sha256(canonical).digest())
    return {"keys": [{**members, "kid": kid, "use": "sig", "alg": "ES256"}]}


def _load(private_key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(private_key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - we made it above
    return key


def _coordinate(value: int) -> str:
    return _base64url(value.to_bytes(COORDINATE_BYTES, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
