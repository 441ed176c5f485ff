"""Sign tokens as the login system does, and build the settings that verify them."""

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from mpac.stack.keys import new_private_key, public_jwks
from workflows.clock import now
from workflows.errors import NotAuthenticated
from workflows.settings import Settings
from workflows.tenants.tokens import Tokens

ISSUER, OUR_AUDIENCE = "https://login.example", "https://pay.example"
TENANT = {"psp_id": "psp_1", "merchant_id": "mer_1", "store_id": "sto_1"}
DEVICE_KEY = new_private_key()
USER_KEY = new_private_key()
KID = public_jwks(USER_KEY)["keys"][0]["kid"]


def settings_of(folder: Path, **rest: Any) -> Settings:
    key_file = folder / "device-key.pem"
    key_file.write_bytes(DEVICE_KEY)
    return Settings(
        database_url="postgresql://nobody@127.0.0.1:1/none",
        broker_url="redis://127.0.0.1:1/0",
        secret_key="s",
        device_token_key_file=key_file,
        **{"user_token_issuer": ISSUER, "user_token_audience": OUR_AUDIENCE, **rest},
    )


def publish(file: Path, keys: Any) -> None:
    file.write_text(keys if isinstance(keys, str) else json.dumps(keys))


def user(key: Any = USER_KEY, *, algorithm: str = "ES256", kid: str | None = KID, **claims: Any) -> str:
    own = {"iss": ISSUER, "aud": OUR_AUDIENCE, "sub": "usr_1", "role": "staff", "exp": now() + timedelta(hours=1)}
    body = {**own, **TENANT, **claims}
    body = {name: value for name, value in body.items() if value is not None}
    return jwt.encode(body, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


async def refusal(tokens: Tokens, token: str) -> str:
    with pytest.raises(NotAuthenticated) as refused:
        await tokens.verify(token)
    return refused.value.text


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
