"""Bearer tokens: whom a good one stands for, and that every other one is refused."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from freezegun import freeze_time

from mpac.stack.keys import new_private_key, public_jwks, public_key
from workflows.clock import now
from workflows.errors import NotAuthenticated
from workflows.settings import Settings
from workflows.tenants import tokens as module
from workflows.tenants.caller import Caller, CallerRole
from workflows.tenants.tokens import AUDIENCE, DEVICE_ISSUER, Tokens

TENANT = {"psp_id": "psp_1", "merchant_id": "mer_1", "store_id": "sto_1"}
DEVICE_KEY = new_private_key()
USER_KEY = new_private_key()
KID = public_jwks(USER_KEY)["keys"][0]["kid"]


@pytest.fixture
def jwks_file(tmp_path: Path) -> Path:
    file = tmp_path / "jwks.json"
    _publish(file, public_jwks(USER_KEY))
    return file


@pytest.fixture
def tokens(tmp_path: Path, jwks_file: Path) -> Tokens:
    return Tokens(_settings(tmp_path, user_jwks_file=jwks_file))


@pytest.fixture
def clock() -> Iterator[Any]:
    with freeze_time(datetime(2026, 1, 28, 3, 0, tzinfo=UTC), real_asyncio=True) as frozen:
        yield frozen


def _settings(folder: Path, **rest: Any) -> Settings:
    key_file = folder / "device-key.pem"
    key_file.write_bytes(DEVICE_KEY)
    return Settings(
        database_url="postgresql://nobody@127.0.0.1:1/none",
        broker_url="redis://127.0.0.1:1/0",
        secret_key="s",
        device_token_key_file=key_file,
        **rest,
    )


def _publish(file: Path, keys: Any) -> None:
    file.write_text(keys if isinstance(keys, str) else json.dumps(keys))


def _user(key: Any = USER_KEY, *, algorithm: str = "ES256", kid: str | None = KID, **claims: Any) -> str:
    body = {"sub": "usr_1", "role": "staff", "exp": now() + timedelta(hours=1), **TENANT, **claims}
    body = {name: value for name, value in body.items() if value is not None}
    return jwt.encode(body, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


async def _refusal(tokens: Tokens, token: str) -> str:
    with pytest.raises(NotAuthenticated) as refused:
        await tokens.verify(token)
    return refused.value.text


async def test_a_device_token_of_ours_stands_for_its_device(tokens: Tokens) -> None:
    token = tokens.issue_device_token(device_id="dev_1", **TENANT)
    assert await tokens.verify(token) == Caller("dev_1", CallerRole.DEVICE, **TENANT)


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
async def test_a_user_knows_its_tenant_and_nothing_above(tokens: Tokens, role: str, known: tuple[str, ...]) -> None:
    tenant = {name: TENANT[name] for name in known}
    assert await tokens.verify(_user(role=role)) == Caller("usr_1", CallerRole[role.upper()], **tenant)


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
    assert absent in await _refusal(tokens, _user(role=role, **dict[str, Any]({absent: None})))
    assert absent in await _refusal(tokens, _user(role=role, **{absent: "x\x00y"}))


@pytest.mark.parametrize("role", [None, "cashier", "device", 5, ["staff"]])
async def test_an_unknown_role_is_refused(tokens: Tokens, role: Any) -> None:
    await _refusal(tokens, _user(role=role))


@pytest.mark.parametrize("sub", ["", "a\x00b", "x" * 201, "4242424242424242", "usr-4242-4242-4242-4242"])
async def test_a_subject_that_no_history_row_could_hold_is_refused(tokens: Tokens, sub: str) -> None:
    assert "sub" in await _refusal(tokens, _user(sub=sub))


async def test_no_user_can_be_a_device_by_naming_its_issuer(tokens: Tokens) -> None:
    await _refusal(tokens, _user(iss=DEVICE_ISSUER, aud=AUDIENCE))


async def test_a_token_of_another_key_is_refused(tokens: Tokens) -> None:
    await _refusal(tokens, _user(new_private_key()))
    stranger = new_private_key()
    assert "not known" in await _refusal(tokens, _user(stranger, kid=public_jwks(stranger)["keys"][0]["kid"]))
    assert "not known" in await _refusal(tokens, _user(kid=None))


def _encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_neither_no_signature_nor_a_shared_secret_will_do(tokens: Tokens) -> None:
    claims = {"sub": "usr_1", "role": "system_op", "exp": 2_000_000_000}
    await _refusal(tokens, f"{_encoded({'alg': 'none', 'kid': KID})}.{_encoded(claims)}.")
    for secret in (public_key(USER_KEY), json.dumps(public_jwks(USER_KEY))):
        header = _encoded({"alg": "HS256", "kid": KID})
        key = base64.urlsafe_b64encode(secret.encode()).decode()  # PyJWT itself refuses to sign with a PEM
        signature = jwt.encode(claims, key, algorithm="HS256").rpartition(".")[2]
        await _refusal(tokens, f"{header}.{_encoded(claims)}.{signature}")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "....", "é.é.é", "e30.e30.e30", f"{'[' * 9_000}"])
async def test_what_is_no_token_is_refused(tokens: Tokens, token: str) -> None:
    await _refusal(tokens, token)


async def test_json_nested_without_end_is_refused_like_any_other(tokens: Tokens) -> None:
    deep = base64.urlsafe_b64encode(b'{"a":' + b"[" * 40_000).rstrip(b"=").decode()
    await _refusal(tokens, f"{_encoded({'alg': 'ES256', 'kid': KID})}.{deep}.c2ln")
    await _refusal(tokens, f"{deep}.{_encoded({})}.c2ln")


async def test_a_remembered_token_ends_when_it_says(tokens: Tokens, clock: Any) -> None:
    token = tokens.issue_device_token(device_id="dev_1", **TENANT)
    await tokens.verify(token)
    clock.tick(timedelta(seconds=119))
    await tokens.verify(token)
    clock.tick(timedelta(seconds=7))  # its end and the leeway
    assert "expired" in await _refusal(tokens, token)


async def test_a_withdrawn_key_ends_its_tokens_within_minutes(
    tokens: Tokens, jwks_file: Path, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = _user(exp=now() + timedelta(hours=1))
    await tokens.verify(token)
    _publish(jwks_file, public_jwks(new_private_key()))
    monkeypatch.setattr(module, "KEYS_LIFE", timedelta(0))  # the age of the keys is measured by the loop's clock
    clock.tick(timedelta(minutes=5, seconds=1))
    assert "not known" in await _refusal(tokens, token)


async def test_a_new_key_is_found_without_a_restart(
    tokens: Tokens, jwks_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tokens.verify(_user())
    monkeypatch.setattr(module, "KEYS_PAUSE_SECONDS", 0)
    new = new_private_key()
    _publish(jwks_file, {"keys": public_jwks(USER_KEY)["keys"] + public_jwks(new)["keys"]})
    await tokens.verify(_user(new, kid=public_jwks(new)["keys"][0]["kid"]))


@pytest.mark.parametrize("content", ["", "{}", "[]", "not json", '{"keys": []}'])
async def test_keys_that_cannot_be_read_leave_the_known_ones(
    tokens: Tokens, jwks_file: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tokens.verify(_user())
    monkeypatch.setattr(module, "KEYS_LIFE", timedelta(0))
    _publish(jwks_file, content)
    await tokens.verify(_user(sub="usr_2"))


async def test_rs256_of_the_login_system_is_good(tmp_path: Path, jwks_file: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    _publish(jwks_file, {"keys": [{**jwk, "kid": "rsa-1", "alg": "RS256", "use": "sig"}]})
    tokens = Tokens(_settings(tmp_path, user_jwks_file=jwks_file))
    assert (await tokens.verify(_user(key, algorithm="RS256", kid="rsa-1"))).id == "usr_1"
    await _refusal(tokens, _user(key, algorithm="RS512", kid="rsa-1"))


@asynccontextmanager
async def _key_server(fetches: list[str]) -> AsyncIterator[str]:
    async def keys(request: web.Request) -> web.Response:
        fetches.append(request.path)
        return web.json_response(public_jwks(USER_KEY))

    app = web.Application()
    app.router.add_get("/jwks", keys)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    finally:
        await runner.cleanup()


async def test_a_flood_of_forged_tokens_is_no_flood_of_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEYS_PAUSE_SECONDS", 60)  # longer than this flood lasts, however slow the machine
    fetches: list[str] = []
    async with _key_server(fetches) as url:
        tokens = Tokens(_settings(tmp_path, user_jwks_url=url))
        await asyncio.gather(*(_refusal(tokens, _user(kid=f"forged-{n}")) for n in range(30)))
        assert len(fetches) == 1
        await tokens.verify(_user())
        assert len(fetches) == 1


async def test_a_login_system_that_is_away_means_no_users_and_no_crash(tmp_path: Path) -> None:
    tokens = Tokens(_settings(tmp_path, user_jwks_url="http://127.0.0.1:1/jwks"))
    await _refusal(tokens, _user())


async def test_what_is_remembered_is_bounded(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    for number in range(10):
        await tokens.verify(_user(sub=f"usr_{number}"))
        assert len(tokens._remembered) <= 3


def test_a_device_key_of_another_kind_stops_the_start(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    with pytest.raises(ValueError, match="MPAC_DEVICE_TOKEN_KEY_FILE"):
        Tokens(settings.model_copy(update={"device_token_key_file": None}))
