"""The login system's keys are found when they are new, dropped when withdrawn, and kept while it is unreachable."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from mpac.stack.keys import new_private_key, public_jwks
from tests.unit.tenants.signing import KID, USER_KEY, publish, refusal, settings_of, user
from workflows.clock import now
from workflows.tenants import jwks
from workflows.tenants.tokens import Tokens


def _read_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the cached keys stale as soon as they are read.

    The age of the keys is measured by the event loop's clock.
    """
    monkeypatch.setattr(jwks, "LIFE_FROM_FILE", timedelta(seconds=-1))
    monkeypatch.setattr(jwks, "PAUSE_SECONDS", -1)


@pytest.mark.parametrize(
    "left", [[], public_jwks(new_private_key())["keys"], [{"kty": "oct", "k": "c2VjcmV0"}]], ids=len
)
async def test_tokens_of_a_withdrawn_key_are_refused(
    tmp_path: Path, jwks_file: Path, monkeypatch: pytest.MonkeyPatch, left: list[Any]
) -> None:
    _read_always(monkeypatch)
    tokens, token = Tokens(settings_of(tmp_path, user_jwks_file=jwks_file)), user()
    await tokens.verify(token)
    publish(jwks_file, {"keys": left})
    assert "not known" in await refusal(tokens, token)  # the token that was accepted before
    assert "not known" in await refusal(tokens, user(sub="usr_2"))


async def test_token_is_not_cached_longer_than_the_keys(tokens: Tokens, jwks_file: Path, clock: Any) -> None:
    token = user(exp=now() + timedelta(hours=1))
    await tokens.verify(token)
    [(_, until)] = tokens._cache.values()
    assert until <= (now() + jwks.LIFE_FROM_FILE).timestamp()


async def test_a_new_key_is_found_without_a_restart(
    tokens: Tokens, jwks_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tokens.verify(user())
    monkeypatch.setattr(jwks, "PAUSE_SECONDS", -1)
    new = new_private_key()
    publish(jwks_file, {"keys": public_jwks(USER_KEY)["keys"] + public_jwks(new)["keys"]})
    await tokens.verify(user(new, kid=public_jwks(new)["keys"][0]["kid"]))


UNREADABLE = ["", "{}", "[]", "not json", '{"keys": {}}', '{"keys": [], "keys": []}', "[" * 100_000]


@pytest.mark.parametrize("content", UNREADABLE, ids=lambda content: content[:20])
async def test_known_keys_remain_valid_for_an_hour_while_the_jwks_is_unreadable(
    tmp_path: Path, jwks_file: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _read_always(monkeypatch)
    tokens = Tokens(settings_of(tmp_path, user_jwks_file=jwks_file))
    await tokens.verify(user())
    publish(jwks_file, content)
    await tokens.verify(user(sub="usr_2"))
    monkeypatch.setattr(jwks, "GRACE", timedelta(seconds=-1))  # the grace period is over
    assert "not known" in await refusal(tokens, user(sub="usr_3"))


async def test_jwks_key_for_another_purpose_is_left_out() -> None:
    [good] = public_jwks(USER_KEY)["keys"]
    small = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65_537, 1_024).public_key()))
    for bad in (
        {**good, "use": "enc"},
        {**good, "key_ops": ["encrypt"]},
        *({**good, "key_ops": uses} for uses in (None, 5, True, "verify", {"verify": 1})),
        {**good, "alg": "RS256"},
        {**good, "crv": "P-384"},
        {**good, "kty": "EС"},  # a Cyrillic С
        {**good, "kid": 5},
        {"kty": "oct", "k": "c2VjcmV0", "kid": KID, "alg": "ES256"},
        {**small, "kid": KID},
        {**good, "x": "AA"},
        {**good, "y": None},
        "a text",
    ):
        assert jwks.usable_keys({"keys": [bad]}) == {}, bad
    assert jwks.usable_keys({"keys": [good, good]}) == {}  # two keys with one id are ambiguous
    assert set(jwks.usable_keys({"keys": [good, "a text"]})) == {(KID, "ES256")}


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


async def test_many_forged_tokens_cause_few_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "PAUSE_SECONDS", 60)  # longer than this test runs, on any machine
    fetches: list[str] = []
    async with _key_server(fetches) as url:
        tokens = Tokens(settings_of(tmp_path, user_jwks_url=url))
        await asyncio.gather(*(refusal(tokens, user(kid=f"forged-{n}")) for n in range(30)))
        assert len(fetches) == 1
        await tokens.verify(user())
        assert len(fetches) == 1


async def test_unreachable_login_system_refuses_users_without_a_crash(tmp_path: Path) -> None:
    tokens = Tokens(settings_of(tmp_path, user_jwks_url="http://127.0.0.1:1/jwks"))
    await refusal(tokens, user())


async def test_an_installation_without_a_login_system_refuses_users(tmp_path: Path) -> None:
    tokens = Tokens(settings_of(tmp_path, user_token_issuer=None, user_token_audience=None))
    await refusal(tokens, user())
    keys = jwks.UserKeys(settings_of(tmp_path))
    assert await keys.find(KID, "ES256") is None


async def test_a_key_set_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jwks, "MAX_BYTES", 10)
    async with _key_server([]) as url:
        assert "not known" in await refusal(Tokens(settings_of(tmp_path, user_jwks_url=url)), user())
    records = [record for record in caplog.records if record.name == jwks.__name__]  # aiohttp's server logs as well
    assert [record.event for record in records] == ["user_keys.unreadable"]  # type: ignore[attr-defined]
