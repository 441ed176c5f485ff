"""The disk of the state folder fills up: requests get 503, no data is corrupted, and no restart is needed afterwards (F32)."""

import errno
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest

from mpac.cli.errors import UserError
from mpac.stack.run_file import read_run
from tests.chaos.conftest import SharedStacks
from tests.chaos.test_faults_of_the_database import Tills
from tests.live_stack import RECOVERY_SECONDS, WITHOUT_FLOWER, LiveStack, live_stack
from tests.polling import eventually

STACK = "small disk"
SIZE = "300m"
PIECE = b"\0" * 1_048_576
FAILED_STARTS = 2
WAL_MESSAGE = "SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000000))"
"""Write one megabyte of write-ahead log. The current segment has room for up to sixteen, even if the disk is full."""


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the mount point of a disk that is small enough to fill. Skip the test if it cannot be mounted."""
    folder = tmp_path_factory.mktemp("disk")
    mount = shutil.which("mount")
    words = [mount or "", "-t", "tmpfs", "-o", f"size={SIZE}", "mpac-test", str(folder)]
    if sys.platform != "linux" or not mount or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("a disk of limited size needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
async def live(small_disk: Path, shared_stacks: SharedStacks) -> AsyncIterator[LiveStack]:
    """Yield a stack on the small disk.

    A full disk may end any of the stack's processes, so unexpected ends are not checked.
    """
    await shared_stacks.close()
    async with live_stack(small_disk / "state", services=WITHOUT_FLOWER, workers=2, durable=True) as running:
        yield running


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Fill the disk to its last byte inside the block."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for piece in (PIECE, b"\0" * 4_096):
            with suppress(OSError):
                while file.write(piece) == len(piece):
                    pass
    with pytest.raises(OSError, match="No space") as refused:
        (disk / "more").write_bytes(PIECE)
    assert refused.value.errno == errno.ENOSPC
    (disk / "more").unlink()
    try:
        yield
    finally:
        filler.unlink()


async def fill_the_write_ahead_log(live: LiveStack) -> None:
    """Write to the database until PostgreSQL has no space left and crashes."""
    for _ in range(32):
        try:
            await live.sql(WAL_MESSAGE)
        except psycopg.Error:
            return
    raise AssertionError("PostgreSQL found room")


async def test_all_services_recover_automatically_after_the_disk_was_full(live: LiveStack, small_disk: Path) -> None:
    tills = Tills(live)

    async def failed_starts() -> int:
        """Return how often the supervisor has restarted PostgreSQL."""
        return sum(end.startswith("postgres ") for end in live.stack.unexpected_ends)

    before = await live.pay_many(20)
    assert await live.final_statuses(before) == {"completed": 20}
    async with tills.paying():
        await tills.sell_more()
        with filled(small_disk):
            await fill_the_write_ahead_log(live)
            with suppress(UserError):  # it may have ended already, and be starting again
                live.stack.kill("worker-payments-1")  # in either case it starts while the disk is full
            await eventually(failed_starts, until=lambda count: count > FAILED_STARTS, within=RECOVERY_SECONDS)
        ready = partial(live.api.get, "//health/ready")
        await eventually(ready, until=lambda answer: answer.status == 200, within=RECOVERY_SECONDS)
        await tills.sell_more()
    assert set(tills.seen) == {201, 503}
    assert await live.final_statuses(tills.promised) == {"completed": len(tills.promised)}
    for name in live.stack.info()["names"]:
        await live.stack.wait_ready(name)
    names = {"supervisor", *WITHOUT_FLOWER} - {"worker"} | {"worker-payments-1", "worker-payments-2", "worker-other"}

    async def told() -> set[str]:
        return set((read_run(live.stack.home) or {"pids": {}})["pids"])

    await eventually(told, until=lambda pids: pids == names, within=RECOVERY_SECONDS)
    await live.close_the_day()
    await live.audit()
