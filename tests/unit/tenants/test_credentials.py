"""Encrypted credentials are unreadable without the secret, bound to their row, and stored as NULL if empty."""

import pytest

from workflows.tenants.store_providers import CredentialsUnreadable, Vault

SECRET = b"a secret of the tests"
CREDENTIALS = {"api_key": "sk_live_verysecret", "merchant": "商店"}


def test_sealed_credentials_can_be_decrypted() -> None:
    vault = Vault(SECRET)
    assert vault.open(vault.seal(CREDENTIALS, row_id="spv_1"), row_id="spv_1") == CREDENTIALS


def test_the_ciphertext_contains_no_plain_text_and_never_repeats() -> None:
    vault = Vault(SECRET)
    first, second = vault.seal(CREDENTIALS, row_id="spv_1"), vault.seal(CREDENTIALS, row_id="spv_1")
    assert first is not None
    assert b"verysecret" not in first
    assert b"api_key" not in first
    assert first != second


def test_credentials_cannot_be_decrypted_with_another_secret() -> None:
    sealed = Vault(SECRET).seal(CREDENTIALS, row_id="spv_1")
    with pytest.raises(CredentialsUnreadable, match="spv_1"):
        Vault(b"another").open(sealed, row_id="spv_1")


def test_credentials_copied_to_another_row_cannot_be_decrypted() -> None:
    vault = Vault(SECRET)
    sealed = vault.seal(CREDENTIALS, row_id="spv_1")
    with pytest.raises(CredentialsUnreadable):
        vault.open(sealed, row_id="spv_2")


def test_credentials_with_a_changed_byte_cannot_be_decrypted() -> None:
    vault = Vault(SECRET)
    sealed = vault.seal(CREDENTIALS, row_id="spv_1")
    assert sealed is not None
    with pytest.raises(CredentialsUnreadable):
        vault.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), row_id="spv_1")


def test_empty_credentials_are_stored_as_null() -> None:
    vault = Vault(SECRET)
    assert vault.seal({}, row_id="spv_1") is None
    assert vault.open(None, row_id="spv_1") == {}
