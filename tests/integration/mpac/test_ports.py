"""Stacks that start concurrently, or find other programs on their ports, get separate ports or name the conflict."""

import asyncio
import json
import os
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import redis
from aiohttp import web

from mpac.cli.errors import UserError
from mpac.stack.listeners import listener_on, listens
from mpac.stack.local_stack import LocalStack
from mpac.stack.ports import HOST, ORDER, ReservedPorts
from mpac.stack.run_file import RunInfo
from tests.integration.mpac.stack_harness import FOREVER, mpac

SERVICES = ("--only", "valkey", "--only", "sandbox", "--ports", "auto")


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[list[Path]]:
    """Yield five state folders. Stacks that are still running are stopped afterwards."""
    found = [tmp_path / f"state-{number}" for number in range(5)]
    yield found
    for home in found:
        mpac("down", home=home)


@asynccontextmanager
async def foreign_server(port: int) -> AsyncIterator[None]:
    """Run a server that answers 200 to every request, on a port that was chosen for another process."""

    async def yes(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", yes)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        yield
    finally:
        await runner.cleanup()


async def test_five_stacks_started_concurrently_share_no_port_or_process(homes: list[Path]) -> None:
    started = await asyncio.gather(*(asyncio.to_thread(mpac, "up", "--detach", *SERVICES, home=home) for home in homes))
    assert [up.returncode for up in started] == [0] * len(homes), [up.stderr for up in started]
    infos: list[RunInfo] = [json.loads((home / "run.json").read_text()) for home in homes]
    ports = Counter(urlsplit(info[url]).port for info in infos for url in ("sandbox_url", "broker_url"))
    assert set(ports.values()) == {1}
    async with aiohttp.ClientSession() as session:
        for info in infos:
            with redis.Redis.from_url(info["broker_url"]) as client:
                assert client.info("server")["process_id"] == info["pids"]["valkey"]
            for other in infos:
                headers = {"Authorization": f"Bearer {other['sandbox_control_key']}"}
                async with session.get(f"{info['sandbox_url']}/control/clock", headers=headers) as answer:
                    assert answer.status == (200 if other is info else 401)


async def test_a_foreign_process_on_the_port_does_not_count_as_ready(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path / "state", services=["sandbox"])
    port = urlsplit(stack.urls.sandbox).port
    assert port
    async with foreign_server(port):
        with pytest.raises(UserError, match=r"sandbox ended before it was ready; its last line: .*in use"):
            await stack.__aenter__()
    assert "sandbox" not in stack.pids


async def test_a_foreign_process_on_a_fixed_port_is_named(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as server:
        base = server.getsockname()[1]
        with pytest.raises(UserError, match=rf"Port {base} for api is taken by \S+ \(pid {os.getpid()}\)"):
            LocalStack(tmp_path / "state", services=["sandbox", "api"], ports=str(base))


def test_a_port_held_by_another_stack_counts_as_busy_before_any_process_listens(tmp_path: Path) -> None:
    first = LocalStack(tmp_path / "one", services=["valkey"])
    port = urlsplit(first.urls.broker).port or 0
    with pytest.raises(UserError, match=f"Port {port} for valkey is taken by another local stack"):
        LocalStack(tmp_path / "two", services=["valkey"], ports=str(port - ORDER.index("valkey")))
    first._reserved.release()
    LocalStack(tmp_path / "two", services=["valkey"], ports=str(port - ORDER.index("valkey")))._reserved.release()


def test_a_port_whose_last_connections_are_closing_can_be_held() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection((HOST, port))
        accepted, _ = server.accept()
        accepted.close()  # the first side to close keeps the port in TIME_WAIT, which blocks a strict bind
        client.close()
    reserved = ReservedPorts()
    assert reserved.reserve(port)
    reserved.release()


def test_the_process_that_listens_on_a_port_is_found() -> None:
    with socket.create_server((HOST, 0)) as server, subprocess.Popen(FOREVER) as other:
        port = server.getsockname()[1]
        assert listens(os.getpid(), port)
        assert not listens(other.pid, port)
        other.kill()
        assert f"(pid {os.getpid()})" in listener_on(port)
    assert not listens(os.getpid(), port)
    assert listener_on(port) == ""
