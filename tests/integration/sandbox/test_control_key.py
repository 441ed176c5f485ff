"""The control key opens the control routes and no other route, and no other key opens them."""

import stat
from pathlib import Path

import pytest

from sandbox.app import CONTROL, V1
from sandbox.settings import CONTROL_KEY_FILE, Settings, read_settings, with_control_key
from tests.integration.sandbox.harness import CONTROL_KEY, KEY, Sandbox, new_payment_id

WRONG = ["", CONTROL_KEY, f"Bearer {KEY}", "Bearer ", "Bearer", f"Bearer {CONTROL_KEY}x", f"Bearer {CONTROL_KEY[:-1]}"]
WRONG += [
    f"bearer {CONTROL_KEY}",
    f"Basic {CONTROL_KEY}",
    f"Bearer {CONTROL_KEY.upper()}",
    f"Bearer  {CONTROL_KEY}",
    "Bearer ÿ",
]


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in CONTROL])
async def test_no_control_route_opens_without_its_key(empty_sandbox: Sandbox, method: str, path: str) -> None:
    payment = new_payment_id()
    await empty_sandbox.charge(f"{payment}:1")
    code = f"{new_payment_id()}:1"
    await empty_sandbox.code(code)
    wanted = path.format(payment_id=payment, reference=code)
    for header in WRONG:
        answer = await empty_sandbox.call(method, wanted, body={}, headers={"Authorization": header})
        assert (answer.status, answer.body["error"]["code"]) == (401, "unauthorized"), header
    assert await empty_sandbox.moved(payment) == [("charge", 1_000)], "the ledger is still there"
    assert (await empty_sandbox.ask(code)).body["status"] == "waiting", "nobody has paid it"


@pytest.mark.parametrize(
    "path", ["/control", "/control/", "/control/nothing", "/control/ledger/a/b", "/control/../control"]
)
async def test_unknown_control_routes_are_refused_like_known_routes_without_the_key(
    sandbox: Sandbox, path: str
) -> None:
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        assert (await sandbox.call(method, path, headers={"Authorization": ""})).status == 401
        assert (await sandbox.call(method, path)).status == 404


async def test_the_control_key_does_not_charge(sandbox: Sandbox) -> None:
    for method, path, _ in V1:
        answer = await sandbox.call(
            method, path.format(reference="x"), body={}, headers={"Authorization": f"Bearer {CONTROL_KEY}"}
        )
        assert answer.status == 401


async def test_a_sandbox_without_a_control_key_creates_and_stores_one(tmp_path: Path) -> None:
    def started(store: str) -> Settings:
        return with_control_key(read_settings(["--store", str(tmp_path / store)], {}))

    first = started("store")
    file = tmp_path / "store" / CONTROL_KEY_FILE
    assert len(first.control_key) >= 32
    assert file.read_text() == first.control_key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert started("store").control_key == first.control_key
    assert started("other").control_key != first.control_key


async def test_an_external_sandbox_accepts_only_its_configured_key(tmp_path: Path) -> None:
    own = await Sandbox.start(tmp_path / "store", {"MPAC_SANDBOX_CONTROL_KEY": ""})
    try:
        assert (await own.call("GET", "/control/ledger")).status == 401
        key = (tmp_path / "store" / CONTROL_KEY_FILE).read_text()
        assert (await own.call("GET", "/control/ledger", headers={"Authorization": f"Bearer {key}"})).status == 200
        assert key not in "".join(own.log)
    finally:
        await own.stop()
