"""The results of `mpac seed` and `mpac token` can be used at once, and only JSON or a token is printed."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from mpac.devtools.seeding import store_name
from mpac.devtools.terminal import Terminal
from mpac.stack.local_stack import LocalStack
from mpac.stack.state_folder import ROOT
from tests.harness import Api

ROLES = ("staff", "store_manager", "merchant_admin", "psp_admin", "system_op")


async def _mpac(stack: LocalStack | None, *words: str, home: Path | None = None, **more: str) -> tuple[int, str, str]:
    environment = more if stack is None else {**stack.environment, **more}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mpac", *words, "--home", str(home or (stack and stack.home.path))),
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    return process.returncode or 0, said.decode(), complained.decode()


async def _seed(stack: LocalStack, *words: str) -> dict[str, Any]:
    code, said, complained = await _mpac(stack, "seed", "--json", *words)
    assert (code, complained) == (0, "")
    made: dict[str, Any] = json.loads(said)
    return made


@pytest.fixture(scope="module")
async def seeded(stack: LocalStack) -> dict[str, Any]:
    """Return what ``mpac seed`` made with its defaults: one merchant, one store, one device.

    Tests only read these rows.
    """
    return await _seed(stack)


async def test_seeded_devices_and_tokens_can_be_used_at_once(stack: LocalStack, api: Api) -> None:
    made = await _seed(stack, "--devices", "5", "--stores", "3", "--merchants", "2")
    assert set(made) == {"psp_id", "merchant_id", "store_id", "merchants", "stores", "devices", "tokens"}
    assert (len(made["merchants"]), len(made["stores"]), len(made["devices"])) == (2, 3, 5)
    assert (made["merchant_id"], made["store_id"]) == (made["merchants"][0], made["stores"][0])
    assert {device["store_id"] for device in made["devices"]} == set(made["stores"])
    async with aiohttp.ClientSession() as session:
        for number, device in enumerate(made["devices"]):
            terminal = Terminal(api.url, device, session=session)
            method = {"type": "qr", "mode": "cpm", "token": "t"}
            paid = await terminal.call(
                "POST", "/payments", body={"amount": 100, "method": method}, key=f"seed-{number}"
            )
            assert (paid.status, paid.body["provider"]) == (201, "sandbox")
    assert tuple(made["tokens"]) == ROLES
    merchants = await api.get("/merchants", as_=made["tokens"]["psp_admin"])
    assert {row["id"] for row in merchants.body["data"]} == set(made["merchants"])
    stores = await api.get("/stores", as_=made["tokens"]["merchant_admin"])
    assert {row["id"] for row in stores.body["data"]} == {made["stores"][0], made["stores"][2]}
    terminals = await api.get("/terminals?limit=200", as_=made["tokens"]["store_manager"])
    assert {row["status"] for row in terminals.body["data"]} == {"active"}
    assert (await api.get("/payments", as_=made["tokens"]["staff"])).status == 200


async def test_a_seeded_device_has_a_normal_history(seeded: dict[str, Any], admin: Any) -> None:
    rows = await admin.execute(
        "SELECT version, event, to_status FROM device_history WHERE device_id = %s ORDER BY version",
        [seeded["devices"][0]["device_id"]],
    )
    told = [tuple(row.values()) for row in await rows.fetchall()]
    assert told == [(1, "create", "pending_activation"), (2, "activate", "active")]


async def test_each_seed_creates_new_tenants(stack: LocalStack, seeded: dict[str, Any]) -> None:
    first, second = seeded, await _seed(stack)
    for name in ("psp_id", "merchant_id", "store_id"):
        assert first[name] != second[name]


async def test_seed_without_json_prints_a_readable_summary_without_keys(stack: LocalStack) -> None:
    code, said, _ = await _mpac(
        stack, "seed", "--devices", "7", "--merchants", "2", "--stores", "3", MPAC_PUBLIC_URL="http://x:1"
    )
    assert code == 0
    assert "PRIVATE KEY" not in said
    lines = said.splitlines()
    assert len(lines) <= 24, "it fits on a screen"
    assert max(map(len, lines)) <= 200
    assert re.search(r"^stores +sto_\w+  Sakura Cafe, Shibuya$", said, re.MULTILINE)
    assert re.search(r"^ +sto_\w+  Umi Sushi, Shibuya$", said, re.MULTILINE)
    assert re.search(r"^devices +\w+_\w+  Till 1 in Sakura Cafe, Shibuya$", said, re.MULTILINE)
    assert "and 2 more" in said
    assert not re.search(r"eyJ", said), "no token"
    assert "  export API=http://x:1/api/v1" in lines
    assert f"  export TOKEN=$(python3 run.py token --role staff --home {stack.home.path})" in lines


async def test_seed_prints_the_stored_names(stack: LocalStack, api: Api) -> None:
    made = await _seed(stack, "--merchants", "2", "--stores", "5", "--devices", "11")
    merchants = await api.get("/merchants", as_=made["tokens"]["psp_admin"])
    assert {row["id"]: row["name"] for row in merchants.body["data"]} == dict(
        zip(made["merchants"], ["Sakura Cafe", "Umi Sushi"], strict=True)
    )
    stores = await api.get("/stores", as_=made["tokens"]["merchant_admin"])
    assert {row["name"] for row in stores.body["data"]} == {store_name(number, merchants=2) for number in (0, 2, 4)}
    terminals = await api.get("/terminals?limit=200", as_=made["tokens"]["store_manager"])
    assert {row["name"] for row in terminals.body["data"]} == {"Till 1", "Till 2", "Till 3"}


def test_seeded_stores_have_distinct_names() -> None:
    names = [store_name(number, merchants=20) for number in range(1_000)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("role", ROLES)
async def test_token_prints_only_a_valid_token(stack: LocalStack, api: Api, seeded: dict[str, Any], role: str) -> None:
    made = seeded
    words = ("--role", role, "--merchant", made["merchant_id"], "--store", made["store_id"])
    code, said, complained = await _mpac(stack, "token", *words)
    assert (code, complained) == (0, "")
    claims = jwt.decode(said.strip(), options={"verify_signature": False})
    assert claims["role"] == role
    assert claims["exp"] - claims["iat"] == 12 * 3_600
    known = {name: claims[name] for name in ("psp_id", "merchant_id", "store_id") if name in claims}
    assert known.items() <= {name: made[name] for name in ("psp_id", "merchant_id", "store_id")}.items()
    assert (await api.get("/payments", as_=said.strip())).status == 200


async def test_a_token_without_ids_is_for_the_last_seeded_store(stack: LocalStack) -> None:
    made = await _seed(stack)
    _, said, _ = await _mpac(stack, "token", "--role", "staff")
    claims = jwt.decode(said.strip(), options={"verify_signature": False})
    assert (claims["merchant_id"], claims["store_id"]) == (made["merchant_id"], made["store_id"])


@pytest.mark.parametrize("words", [("--merchant", "mer_none"), ("--store", "sto_none")])
async def test_a_token_for_an_unknown_tenant_is_refused_in_a_sentence(
    stack: LocalStack, words: tuple[str, ...]
) -> None:
    code, said, complained = await _mpac(stack, "token", "--role", "staff", *words)
    assert (code, said) == (1, "")
    assert complained.startswith("mpac: There is no such merchant or store")
    assert "Traceback" not in complained


async def test_seed_and_token_without_a_stack_give_advice(tmp_path: Path) -> None:
    for words in (("seed", "--json"), ("token", "--role", "staff")):
        code, said, complained = await _mpac(None, *words, home=tmp_path / "nothing")
        assert (code, said) == (1, "")
        assert "run.py up" in complained
        assert "Traceback" not in complained
    assert not (tmp_path / "nothing").exists()
