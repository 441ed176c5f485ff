"""Fixtures: the shared sandbox with an empty ledger, and sandboxes for a single test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.sandbox.harness import Launch, Sandbox


@pytest.fixture
async def empty_sandbox(sandbox: Sandbox) -> AsyncIterator[Sandbox]:
    """Yield the shared sandbox with an empty ledger and no fault rates. Both are reset again afterwards."""
    await _clear(sandbox)
    yield sandbox
    await _clear(sandbox)


@pytest.fixture
async def launch(sandbox_folder: Path) -> AsyncIterator[Launch]:
    """Yield a function that starts a sandbox on ``sandbox_folder``.

    Sandboxes still running after the test are killed.
    """
    launched: list[Sandbox] = []

    async def start() -> Sandbox:
        launched.append(await Sandbox.start(sandbox_folder))
        return launched[-1]

    yield start
    for sandbox in launched:
        await sandbox.kill()


@pytest.fixture
def sandbox_folder(tmp_path: Path) -> Path:
    """Return the folder for the ledger of a sandbox that a test starts itself."""
    return tmp_path / "ledger"


async def _clear(sandbox: Sandbox) -> None:
    await sandbox.call("DELETE", "/control/ledger")
    await sandbox.call("DELETE", "/control/faults")
    await sandbox.call("PUT", "/control/latency", body={"min_ms": 0, "max_ms": 0})
