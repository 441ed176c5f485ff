"""A device may register only a public EC P-256 key."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mpac.stack.keys import new_private_key, public_key
from workflows.devices.activation import canonical_key
from workflows.errors import InvalidRequest


def _pem(key: PublicKeyTypes) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_p256_key_is_stored_in_canonical_pem_only() -> None:
    pem = public_key(new_private_key())
    assert canonical_key(pem) == pem
    assert canonical_key(f"a note\n{pem}\nanother note") == pem


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "not a key",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        new_private_key().decode(),
        _pem(ec.generate_private_key(ec.SECP384R1()).public_key()),
        _pem(ec.generate_private_key(ec.SECP256K1()).public_key()),
        _pem(rsa.generate_private_key(public_exponent=65_537, key_size=2_048).public_key()),
        _pem(ed25519.Ed25519PrivateKey.generate().public_key()),
        "\x00\ud800",
    ],
    ids=["empty", "text", "broken", "private", "P-384", "secp256k1", "RSA", "Ed25519", "surrogate"],
)
def test_keys_other_than_public_p256_are_refused(pem: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        canonical_key(pem)
    assert [detail.field for detail in refused.value.details] == ["public_key_pem"]
