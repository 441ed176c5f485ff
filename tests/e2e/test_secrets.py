"""No log, command line or world-readable file contains a password or key, even after faults."""

import json
import signal
from pathlib import Path

import aiohttp
import psutil

from tests.live_stack import RECOVERY_SECONDS, LiveStack
from tests.polling import eventually


def secrets_of(home: Path) -> dict[str, str]:
    """Return the secrets of a state folder by name: the values, and the body of each private key."""
    found: dict[str, str] = json.loads((home / "secrets" / "secrets.json").read_text())
    for file in (home / "secrets").glob("*.pem"):
        found[file.name] = file.read_text().splitlines()[1]
    assert {"database_password", "broker_password", "sandbox_control_key", "device-token-key.pem"} <= found.keys()
    assert all(len(value) >= 16 for value in found.values())
    return found


async def test_logs_command_lines_and_files_contain_no_secrets(live: LiveStack) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/control/ledger", "/v1/charges/x"):
            async with session.get(live.stack.urls.sandbox + path, headers={"Authorization": "Bearer x"}) as refused:
                assert refused.status == 401
    for server in ("valkey", "postgres"):  # then every process logs connection errors, with the address
        live.stack.kill(server, signal.SIGKILL)
        await live.api.pay(live.staff)
        await live.stack.wait_ready(server)
    paying = live.api.pay
    await eventually(lambda: paying(live.staff), until=lambda answer: answer.status == 201, within=RECOVERY_SECONDS)
    home = live.stack.home.path
    told = {file: file.read_text(errors="replace") for file in (home / "logs").iterdir()}
    assert {"api.log", "beat.log", "flower.log", "postgres.log", "sandbox.log", "valkey.log"} <= {f.name for f in told}
    for pid in live.stack.pids.values():
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        told |= {Path(f"/proc/{each.pid}/cmdline"): " ".join(each.cmdline()) for each in family}
    assert [
        (name, str(file)) for name, value in secrets_of(home).items() for file, text in told.items() if value in text
    ] == []
    holders = [file for file in home.rglob("*") if file.is_file() and "postgres" not in file.parts]
    for file in holders:
        if any(value in file.read_text(errors="replace") for value in secrets_of(home).values()):
            assert file.stat().st_mode & 0o077 == 0, file
    assert json.loads(live.stack.home.run_file.read_text())["sandbox_control_key"] == live.stack.control_key
