"""A local stack works in folders of any name, in any locale, and as root in folders that are closed to other users."""

import os
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import psycopg
import pytest
import redis

from mpac.cli.doctor_checks import broker, database
from mpac.cli.errors import UserError
from mpac.stack.external_folder import delete_external_folder
from mpac.stack.local_stack import LocalStack, local_servers
from mpac.stack.postgres import SETTINGS
from mpac.stack.state_folder import LONGEST_PATH, ROOT, Home, open_home
from tests.integration.mpac.stack_harness import linked_programs
from tests.integration.mpac.test_servers import no_servers_of_the_users  # noqa: F401 - a fixture
from tests.integration.mpac.without_namespaces import REFUSED
from tests.polling import HANGS_AFTER_SECONDS

AWKWARD = """日本語 {} 'q' "d" $HOME `id` \\ %d # ; : *?[a-z] 😀""".format(unicodedata.normalize("NFD", "が"))
NAMES = {
    "awkward": os.fsencode(AWKWARD),
    "line breaks and not UTF-8": b"--two\nlines\r\t" + "\x85\u2028".encode() + b"\xff\xfe\x82\xa0",
}


async def answers(stack: LocalStack) -> bool:
    """Return whether both servers answer."""
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as connection:
        await connection.execute("SELECT 1")
    with redis.Redis.from_url(stack.urls.broker) as client:
        return bool(client.ping())


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_database_and_broker_work_in_a_folder_of_any_name(tmp_path: Path, name: bytes) -> None:
    try:
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"this file system does not allow the name: {error.strerror}")
    for is_first in (True, False):
        async with local_servers(folder / "state", durable=False) as stack:
            assert await answers(stack)
            async with await psycopg.AsyncConnection.connect(stack.urls.database) as connection:
                await connection.execute("CREATE TABLE kept (one integer)" if is_first else "SELECT one FROM kept")


async def test_database_and_broker_start_behind_a_symbolic_link_and_at_the_longest_path(tmp_path: Path) -> None:
    rest = LONGEST_PATH - len(os.fsencode(tmp_path)) - len("/real/") - 1
    real = tmp_path / "real" / ("x" * (rest // 2)) / ("y" * (rest - rest // 2))
    real.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(real.parent)
    async with local_servers(link / real.name, durable=False) as stack:
        assert await answers(stack)
    async with local_servers(real, durable=False) as stack:
        assert await answers(stack)


def test_a_path_that_is_too_long_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"at most {LONGEST_PATH}: choose a shorter one with --home"):
        open_home(tmp_path / "/".join(["x" * 200] * 3))


async def test_postgresql_in_a_folder_with_shell_characters_is_run_from_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = linked_programs(tmp_path / AWKWARD)
    monkeypatch.setattr("mpac.stack.postgres.postgres_folders", lambda: [programs])
    home = Home(tmp_path / "state")
    try:
        async with local_servers(home.path, durable=False) as stack:
            assert await answers(stack)
            assert str(programs) not in os.readlink(f"/proc/{stack.pids['postgres']}/exe")
    finally:
        delete_external_folder(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by PostgreSQL")
def test_root_starts_database_and_broker_in_a_closed_folder_without_user_namespaces(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    command = [sys.executable, "-m", "mpac", "doctor", "--home", str(tmp_path / "state")]
    done = run_in(Path(__file__).with_name("without_namespaces.py"), command)
    if done.returncode == REFUSED:
        pytest.skip("no user namespace can be made here, in which to forbid them")
    assert "test start succeeded as the user nobody" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("locale", [{"LC_ALL": "POSIX", "PYTHONUTF8": "0"}, {"LANG": "C", "LC_ALL": ""}])
def test_run_py_works_in_a_locale_without_japanese(tmp_path: Path, locale: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "status", "--home", str(tmp_path / "状態")],
        env={**os.environ, "MPAC_VENV": str(Path(sys.prefix)), **locale},
        capture_output=True,
        check=False,
        timeout=HANGS_AFTER_SECONDS,
    )
    assert "状態" in done.stdout.decode() + done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_the_doctor_names_the_cause_if_a_server_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETTINGS, "shared_buffers", "999999GB")
    found = database(Home(tmp_path / "state"))
    assert found.fatal
    assert "shared_buffers" in found.advice
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_starts_database_and_broker_and_leaves_no_file(tmp_path: Path) -> None:
    for ask in (database, broker):
        assert "test start succeeded" in ask(Home(tmp_path / "state")).text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_doctor_leaves_no_file(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "mpac", "doctor", "--home", str(tmp_path / "state")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not list(tmp_path.glob(".state-doctor-*/logs")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    text = process.communicate(timeout=HANGS_AFTER_SECONDS)[0].decode()
    assert "Interrupted" in text, text
    assert list(tmp_path.iterdir()) == []


def run_in(launcher: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command through a launcher program, in the checkout."""
    return subprocess.run(
        [sys.executable, str(launcher), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER_SECONDS,
    )
