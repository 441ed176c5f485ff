"""Development secrets are random, permanent, private and usable."""

import base64
import json
from pathlib import Path

import jwt
import pytest

from mpac.cli.errors import UserError
from mpac.devtools.user_tokens import UserTokens
from mpac.stack.secrets import MAKERS, load_secrets
from mpac.stack.state_folder import Home, open_home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "state")


def test_secrets_are_created_once_and_reused(home: Home) -> None:
    first = load_secrets(home)
    keys = [path.read_bytes() for path in sorted(home.secrets.iterdir())]
    assert load_secrets(home) == first
    assert [path.read_bytes() for path in sorted(home.secrets.iterdir())] == keys


def test_two_state_folders_share_no_secret(tmp_path: Path) -> None:
    one, other = (load_secrets(open_home(tmp_path / name)).values for name in ("one", "other"))
    assert not set(one.values()) & set(other.values())
    assert one.keys() == other.keys() == MAKERS.keys()


def test_every_secret_file_is_accessible_to_the_owner_only(home: Home) -> None:
    load_secrets(home)
    assert {path.stat().st_mode & 0o777 for path in home.secrets.iterdir()} == {0o600}
    assert home.secrets.stat().st_mode & 0o777 == 0o700


def test_a_new_secret_is_added_without_changing_the_others(home: Home) -> None:
    before = load_secrets(home).values
    file = home.secrets / "secrets.json"
    file.write_text(json.dumps({name: value for name, value in before.items() if name != "secret_key"}))
    after = load_secrets(home).values
    assert {**after, "secret_key": ""} == {**before, "secret_key": ""}
    assert len(base64.urlsafe_b64decode(after["secret_key"])) == 32


def test_a_user_token_verifies_with_the_published_jwks(home: Home) -> None:
    secrets = load_secrets(home)
    published = jwt.PyJWKSet.from_json(secrets.user_jwks_file.read_text())
    [key] = published.keys
    token = jwt.encode({"sub": "someone"}, secrets.user_token_key_file.read_bytes(), "ES256", {"kid": str(key.key_id)})
    assert jwt.decode(token, published[str(key.key_id)].key, ["ES256"]) == {"sub": "someone"}
    assert "d" not in json.loads(secrets.user_jwks_file.read_text())["keys"][0]


def test_devices_and_users_have_different_keys(home: Home) -> None:
    secrets = load_secrets(home)
    assert secrets.device_token_key_file.read_bytes() != secrets.user_token_key_file.read_bytes()


@pytest.mark.parametrize("name", ["secrets.json", "device-token-key.pem", "user-token-key.pem", "user-jwks.json"])
@pytest.mark.parametrize("content", [b"", b'{"half', b"\xff\xfe", b"[]", b"null", b"-----BEGIN PRIVATE KEY-----\nMIGH"])
def test_a_damaged_secret_file_is_named_with_advice_and_not_replaced(home: Home, name: str, content: bytes) -> None:
    load_secrets(home)
    (home.secrets / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} is damaged: restore it from a copy, or .*reset"):
        load_secrets(home)
    assert (home.secrets / name).read_bytes() == content


@pytest.mark.parametrize("value", [None, 5, "", ["x"]])
def test_a_secret_that_is_not_text_counts_as_damage(home: Home, value: object) -> None:
    found = load_secrets(home).values
    (home.secrets / "secrets.json").write_text(json.dumps({**found, "secret_key": value}))
    with pytest.raises(UserError, match=r"secrets\.json is damaged"):
        load_secrets(home)


def test_an_unreadable_signing_key_is_named_when_a_token_is_signed(home: Home) -> None:
    load_secrets(home)
    (home.secrets / "user-token-key.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(UserError, match=r"user-token-key\.pem is damaged"):
        UserTokens(home)


def test_a_deleted_signing_key_is_recreated_with_its_public_key(home: Home) -> None:
    before = load_secrets(home)
    device_key = before.device_token_key_file.read_bytes()
    before.user_token_key_file.unlink()
    load_secrets(home)
    assert device_key == before.device_token_key_file.read_bytes()
    test_a_user_token_verifies_with_the_published_jwks(home)
