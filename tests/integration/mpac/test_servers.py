"""Test PostgreSQL and Valkey as tests and benchmarks start them."""

import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from mpac.cli.errors import UserError
from mpac.stack.external_folder import delete_external_folder
from mpac.stack.local_stack import LocalStack, local_servers
from mpac.stack.ports import HOST
from mpac.stack.service_process import Identity
from mpac.stack.state_folder import Home
from tests.integration.mpac.stack_harness import is_alive, linked_programs
from tests.polling import until

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def no_servers_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MPAC_DATABASE_URL", "MPAC_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """Yield one pair of servers for the tests that leave them unchanged."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MPAC_DATABASE_URL", "MPAC_BROKER_URL"):
            patch.delenv(name, raising=False)
        async with local_servers(tmp_path_factory.mktemp("servers"), durable=False) as running:
            yield running


def run_json(stack: LocalStack) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads(stack.home.run_file.read_text())
    return found


def ask_database(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question.encode()).fetchone()
    assert row
    return row[0]


async def test_database_and_broker_answer_at_their_urls(servers: LocalStack) -> None:
    assert ask_database(servers.urls.database, "SELECT current_database() || current_user") == "mpacmpac"
    with redis.Redis.from_url(servers.urls.broker) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


async def test_database_and_broker_require_their_passwords(servers: LocalStack) -> None:
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(servers.urls.database.replace("@", "x@")).close()
    with redis.Redis.from_url(servers.urls.broker.replace("@", "x@")) as client, pytest.raises(redis.RedisError):
        client.ping()


async def test_run_json_is_private_and_lists_the_running_processes(servers: LocalStack) -> None:
    assert servers.home.run_file.stat().st_mode & 0o777 == 0o600
    pids = run_json(servers)["pids"]
    assert pids == {"supervisor": os.getpid(), **servers.pids}
    assert all(is_alive(pid) for pid in pids.values())


async def test_a_killed_server_is_restarted_and_run_json_is_updated(servers: LocalStack) -> None:
    before = servers.pids["valkey"]
    servers.kill("valkey", signal.SIGKILL)
    await servers.wait_ready("valkey")
    assert servers.pids["valkey"] != before
    assert run_json(servers)["pids"]["valkey"] == servers.pids["valkey"]
    with redis.Redis.from_url(servers.urls.broker) as client:
        assert client.ping()


async def test_the_database_restarts_after_kill_9_with_all_committed_data(tmp_path: Path) -> None:
    async with LocalStack(tmp_path / "state", services=["postgres"]) as stack:
        assert ask_database(stack.urls.database, "SHOW fsync") == "on"
        assert ask_database(stack.urls.database, "SHOW synchronous_commit") == "on"
        with psycopg.connect(stack.urls.database) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        stack.kill("postgres", signal.SIGKILL)
        await stack.wait_ready("postgres")
        assert ask_database(stack.urls.database, "SELECT one FROM kept") == 1


async def test_a_second_stack_in_the_same_folder_is_refused(servers: LocalStack) -> None:
    before = servers.pids
    with pytest.raises(UserError, match="already runs"):
        async with local_servers(servers.home.path):
            pass
    assert servers.pids == before
    assert run_json(servers)["pids"]["postgres"] == before["postgres"]


async def test_leaving_the_block_stops_all_processes_and_keeps_the_data(tmp_path: Path) -> None:
    async with local_servers(tmp_path / "state", durable=False) as first:
        pids = first.pids
        with psycopg.connect(first.urls.database) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    assert not any(is_alive(pid) for pid in pids.values())
    assert not first.home.run_file.exists()
    async with LocalStack(tmp_path / "state", services=["postgres"], durable=False) as second:
        assert ask_database(second.urls.database, "SELECT one FROM kept") == 1


async def test_a_server_that_cannot_listen_is_reported_with_its_last_line(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path / "state", services=["valkey"], durable=False)
    port = int(stack.urls.broker.rsplit(":", 1)[1].removesuffix("/0"))
    said = r"valkey ended before it was ready; its last line: .*[Pp]ort"
    with socket.create_server((HOST, port)), pytest.raises(UserError, match=said):
        await stack.__aenter__()
    assert stack.pids == {}


async def test_external_servers_are_used_instead_of_starting_new_ones(tmp_path: Path) -> None:
    env = {"MPAC_DATABASE_URL": "postgresql://a/b", "MPAC_BROKER_URL": "redis://c/0"}
    async with LocalStack(tmp_path / "state", services=["postgres", "valkey"], env=env) as stack:
        assert stack.pids == {}
        assert stack.environment["MPAC_DATABASE_URL"] == "postgresql://a/b"
        assert stack.urls.broker == "redis://c/0"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by PostgreSQL")
@pytest.mark.parametrize("identity", ["mapped", "nobody"])
async def test_root_runs_the_database_as_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identity: Identity
) -> None:
    monkeypatch.setattr("mpac.stack.postgres.identity_for", lambda _folder: identity)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)  # like a checkout below /root, with the environment and the state folder in it
    programs = linked_programs(closed)
    monkeypatch.setattr("mpac.stack.postgres.postgres_folders", lambda: [programs])
    home = Home(closed / "state")
    try:
        async with LocalStack(home.path, services=["postgres"], durable=False) as stack:
            assert ask_database(stack.urls.database, "SELECT 1") == 1
            owner = psutil.Process(stack.pids["postgres"]).uids().real
            assert (owner == 0) == (identity == "mapped")
    finally:
        delete_external_folder(home)


async def test_without_restart_a_dead_process_stays_dead_until_it_is_started(tmp_path: Path) -> None:
    async with LocalStack(tmp_path / "state", services=["valkey"], restart=False, durable=False) as stack:
        stack.kill("valkey")
        await until(lambda: "valkey" not in stack.pids)
        assert "valkey" not in run_json(stack)["pids"]
        await stack.start("valkey")
        assert is_alive(stack.pids["valkey"])


async def test_later_services_start_while_the_block_is_running(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path / "state", services=["postgres", "valkey"], later=["postgres"], durable=False)
    async with stack:
        assert "postgres" not in stack.pids
        await stack.wait_all()
        assert run_json(stack)["pids"].keys() == {"supervisor", "postgres", "valkey"}
    assert stack.pids == {}


async def test_leaving_the_block_while_later_services_start_stops_all_processes(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path / "state", services=["postgres", "valkey"], later=["valkey"], durable=False)
    async with stack:
        pass
    assert stack.pids == {}
    assert not stack.home.run_file.exists()
