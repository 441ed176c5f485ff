"""A valid bearer token identifies its caller, and every invalid one is refused."""

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mpac.stack.keys import new_private_key, public_jwks, public_key
from tests.unit.tenants.signing import (
    DEVICE_KEY,
    ISSUER,
    KID,
    OUR_AUDIENCE,
    TENANT,
    USER_KEY,
    encoded,
    publish,
    refusal,
    settings_of,
    user,
)
from workflows.clock import now
from workflows.tenants import tokens as module
from workflows.tenants.caller import Caller, CallerRole
from workflows.tenants.strict_jwt import read_parts
from workflows.tenants.tokens import AUDIENCE, DEVICE_ISSUER, Tokens


@pytest.mark.parametrize("client_id", ["", "cli_1"])
async def test_device_token_identifies_its_device(tokens: Tokens, client_id: str) -> None:
    token = tokens.issue_device_token(device_id="dev_1", **TENANT, client_id=client_id)
    assert await tokens.verify(token) == Caller("dev_1", CallerRole.DEVICE, **TENANT, client_id=client_id)


async def test_issued_token_is_cached_as_another_process_reads_it(tokens: Tokens, clock: Any) -> None:
    token = tokens.issue_device_token(device_id="dev_1", **TENANT, client_id="cli_1")
    [cached] = tokens._cache.values()
    tokens._cache.clear()  # now this process knows as little of the token as another one
    await tokens.verify(token)
    assert list(tokens._cache.values()) == [cached]


@pytest.mark.parametrize(
    ("role", "known"),
    [
        ("staff", ("merchant_id", "store_id")),
        ("store_manager", ("merchant_id", "store_id")),
        ("merchant_admin", ("merchant_id",)),
        ("psp_admin", ("psp_id",)),
        ("system_op", ()),
        ("STORE_MANAGER", ("merchant_id", "store_id")),
    ],
)
async def test_a_user_token_yields_only_the_ids_of_its_scope(tokens: Tokens, role: str, known: tuple[str, ...]) -> None:
    tenant = {name: TENANT[name] for name in known}
    assert await tokens.verify(user(role=role)) == Caller("usr_1", CallerRole[role.upper()], **tenant)


@pytest.mark.parametrize(
    ("role", "absent"),
    [
        ("staff", "store_id"),
        ("staff", "merchant_id"),
        ("store_manager", "store_id"),
        ("merchant_admin", "merchant_id"),
        ("psp_admin", "psp_id"),
    ],
)
async def test_a_user_without_its_tenant_is_refused(tokens: Tokens, role: str, absent: str) -> None:
    assert absent in await refusal(tokens, user(role=role, **dict[str, Any]({absent: None})))
    for value in ("x\x00y", 5, ["mer_1"], ""):
        assert absent in await refusal(tokens, user(role=role, **dict[str, Any]({absent: value})))


@pytest.mark.parametrize(
    "role",
    [
        *[None, "", "cashier", "device", "DEVICE", 5, True, ["staff"], {"staff": 1}],
        *[
            "ſyſtem_op",
            "ſtaff",
            "store_manager ",
            " staff",
            "Staff",
            "sTAFF",
            "system\u005fop\u200b",
            "ｓｔａｆｆ",
            "pſp_admin",
        ],
        *["merchant_adm\u0131n", "merchant_adm\u0130n", "STAFF\n"],
    ],
)
async def test_a_role_that_is_not_spelled_as_documented_is_refused(tokens: Tokens, role: Any) -> None:
    await refusal(tokens, user(role=role))


@pytest.mark.parametrize("sub", ["", "a\x00b", "x" * 201, "4242424242424242", "usr-4242-4242-4242-4242"])
async def test_token_with_a_sub_unfit_for_history_rows_is_refused(tokens: Tokens, sub: str) -> None:
    assert "sub" in await refusal(tokens, user(sub=sub))


async def test_user_token_that_names_the_device_issuer_is_refused(tokens: Tokens) -> None:
    await refusal(tokens, user(iss=DEVICE_ISSUER, aud=AUDIENCE))


async def test_a_token_signed_with_another_key_is_refused(tokens: Tokens) -> None:
    await refusal(tokens, user(new_private_key()))
    stranger = new_private_key()
    assert "not known" in await refusal(tokens, user(stranger, kid=public_jwks(stranger)["keys"][0]["kid"]))
    assert "not known" in await refusal(tokens, user(kid=None))


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"iss": None}, "iss"),
        ({"iss": "https://elsewhere.example"}, "issuer"),
        ({"iss": ISSUER + "/"}, "issuer"),
        ({"aud": None}, "aud"),
        ({"aud": "https://elsewhere.example"}, "audience"),
        ({"aud": []}, "aud"),
        ({"exp": None}, "exp"),
    ],
    ids=str,
)
async def test_user_token_of_another_issuer_or_audience_is_refused(
    tokens: Tokens, claims: dict[str, Any], said: str
) -> None:
    assert said in await refusal(tokens, user(**claims))


async def test_a_token_with_several_audiences_is_accepted_if_ours_is_among_them(tokens: Tokens) -> None:
    assert (await tokens.verify(user(aud=["https://elsewhere.example", OUR_AUDIENCE]))).id == "usr_1"


@pytest.mark.parametrize("name", ["user_token_issuer", "user_token_audience"])
def test_keys_without_issuer_or_audience_stop_the_start(tmp_path: Path, jwks_file: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"MPAC_{name.upper()} must be set"):
        Tokens(settings_of(tmp_path, user_jwks_file=jwks_file, **dict[str, Any]({name: None})))
    with pytest.raises(ValueError, match="MPAC_USER_TOKEN_ISSUER"):
        Tokens(settings_of(tmp_path, user_token_issuer=DEVICE_ISSUER))


async def test_the_login_systems_clock_may_be_a_minute_ahead(tokens: Tokens) -> None:
    await tokens.verify(user(iat=now() + timedelta(seconds=50)))
    assert "future" in await refusal(tokens, user(iat=now() + timedelta(seconds=90)))


async def test_device_and_user_tokens_are_not_interchangeable(tokens: Tokens) -> None:
    await refusal(tokens, user(DEVICE_KEY))
    await refusal(tokens, user(DEVICE_KEY, iss=DEVICE_ISSUER, aud=AUDIENCE, role=None, exp=None))
    await refusal(tokens, user(USER_KEY, iss=DEVICE_ISSUER, aud=AUDIENCE, sub="dev_1"))
    as_user = jwt.encode(
        {"iss": ISSUER, "aud": OUR_AUDIENCE, "sub": "dev_1", "role": "staff", "exp": now() + timedelta(hours=1)},
        DEVICE_KEY,
        algorithm="ES256",
    )
    await refusal(tokens, as_user)


def _signed(header: str, claims: str) -> str:
    """Return a signed token with this header and these claims."""
    parts = [base64.urlsafe_b64encode(part.encode()).rstrip(b"=") for part in (header, claims)]
    key = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    private: Any = key.prepare_key(USER_KEY)
    signature = key.sign(b".".join(parts), private)
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


HEADER = json.dumps({"alg": "ES256", "kid": KID})


def _claims(extra: str = "") -> str:
    own = {"iss": ISSUER, "aud": OUR_AUDIENCE, "sub": "usr_1", "role": "staff", "exp": 4_000_000_000, **TENANT}
    return json.dumps(own)[:-1] + extra + "}"


async def test_a_token_that_repeats_a_name_is_refused(tokens: Tokens) -> None:
    assert (await tokens.verify(_signed(HEADER, _claims()))).role is CallerRole.STAFF
    for extra in (', "role": "system_op"', ', "r\\u006fle": "staff"', ', "x": {"a": 1, "a": 2}', ', "exp": 4000000001'):
        await refusal(tokens, _signed(HEADER, _claims(extra)))
    for extra in (', "alg": "ES256"', f', "kid": "{KID}"', ', "x": [{"a": 1, "a": 1}]'):
        await refusal(tokens, _signed(HEADER[:-1] + extra + "}", _claims()))
    await refusal(tokens, _signed(HEADER, _claims(', "x": NaN')))
    await refusal(tokens, _signed(HEADER[:-1] + ', "crit": ["exp"]}', _claims()))


async def test_token_with_a_time_as_text_is_refused(tokens: Tokens) -> None:
    for exp in ('"4000000000"', '"４０００００００００"', "true", "[4000000000]", "1e999"):
        await refusal(tokens, _signed(HEADER, _claims().replace("4000000000", exp)))


async def test_token_without_signature_or_with_hmac_is_refused(tokens: Tokens) -> None:
    claims = {"sub": "usr_1", "role": "system_op", "exp": 2_000_000_000}
    await refusal(tokens, f"{encoded({'alg': 'none', 'kid': KID})}.{encoded(claims)}.")
    for secret in (public_key(USER_KEY), json.dumps(public_jwks(USER_KEY))):
        header = encoded({"alg": "HS256", "kid": KID})
        key = base64.urlsafe_b64encode(secret.encode()).decode()  # PyJWT itself refuses to sign with a PEM
        signature = jwt.encode(claims, key, algorithm="HS256").rpartition(".")[2]
        await refusal(tokens, f"{header}.{encoded(claims)}.{signature}")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "....", "é.é.é", "e30.e30.e30", f"{'[' * 9_000}"])
async def test_malformed_token_is_refused(tokens: Tokens, token: str) -> None:
    await refusal(tokens, token)


async def test_json_nested_without_end_is_refused_like_any_other(tokens: Tokens) -> None:
    deep = base64.urlsafe_b64encode(b'{"a":' + b"[" * 40_000).rstrip(b"=").decode()
    await refusal(tokens, f"{encoded({'alg': 'ES256', 'kid': KID})}.{deep}.c2ln")
    await refusal(tokens, f"{deep}.{encoded({})}.c2ln")


async def test_cached_token_is_refused_after_its_expiry(tokens: Tokens, clock: Any) -> None:
    token = tokens.issue_device_token(device_id="dev_1", **TENANT)
    await tokens.verify(token)
    clock.tick(timedelta(seconds=119))
    await tokens.verify(token)
    clock.tick(timedelta(seconds=7))  # past its expiry and the leeway
    assert "expired" in await refusal(tokens, token)


async def test_rs256_token_of_the_login_system_is_accepted(tmp_path: Path, jwks_file: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    publish(jwks_file, {"keys": [{**jwk, "kid": "rsa-1", "alg": "RS256", "use": "sig"}]})
    tokens = Tokens(settings_of(tmp_path, user_jwks_file=jwks_file))
    assert (await tokens.verify(user(key, algorithm="RS256", kid="rsa-1"))).id == "usr_1"
    await refusal(tokens, user(key, algorithm="RS512", kid="rsa-1"))


async def test_cache_of_tokens_is_bounded(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CACHED", 3)
    for number in range(10):
        await tokens.verify(user(sub=f"usr_{number}"))
        assert len(tokens._cache) <= 3
        tokens.issue_device_token(device_id=f"dev_{number}", **TENANT)
        assert len(tokens._cache) <= 3


def test_start_is_refused_with_a_device_token_key_of_another_kind(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with pytest.raises(ValueError, match="MPAC_DEVICE_TOKEN_KEY_FILE"):
        Tokens(settings.model_copy(update={"device_token_key_file": None}))


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_token_with_a_part_that_is_not_base64url_is_refused(part: int) -> None:
    parts = user().split(".")
    read_parts(".".join(parts))
    for end in ("=", "+", "\n", " "):
        changed = [*parts[:part], parts[part] + end, *parts[part + 1 :]]
        with pytest.raises(ValueError, match="is not base64url"):
            read_parts(".".join(changed))


def test_a_key_for_device_tokens_of_another_kind_stops_the_start(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert settings.device_token_key_file is not None
    for key in (rsa.generate_private_key(65_537, 2_048), ec.generate_private_key(ec.SECP384R1())):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        settings.device_token_key_file.write_bytes(pem)
        with pytest.raises(ValueError, match="must hold an EC P-256 private key"):
            Tokens(settings)
