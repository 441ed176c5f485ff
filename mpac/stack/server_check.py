"""Start a database or broker server briefly in a temporary folder, to find out whether it can run on this machine."""

import asyncio
import os
import shutil
import signal
import tempfile
from pathlib import Path

from mpac.stack.external_folder import delete_external_folder
from mpac.stack.local_stack import LocalStack
from mpac.stack.service_process import Identity
from mpac.stack.state_folder import Home

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_NAME_BYTES = 100  # of the state folder's name, so that the temporary path has the same characters


def try_server(service: str, home: Home) -> Identity:
    """Start ``postgres`` or ``valkey`` as the stack in ``home`` would, and stop it.

    Return the identity the server ran as. Raises ``UserError`` with the cause. Nothing is left behind, not even after
    Ctrl-C or SIGTERM.
    """
    folder = _temporary_folder(home)
    try:
        return asyncio.run(_start(service, folder))
    except asyncio.CancelledError as error:
        raise KeyboardInterrupt from error
    finally:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # a second Ctrl-C must not interrupt the clean-up
        shutil.rmtree(folder, ignore_errors=True)
        delete_external_folder(Home(folder))
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _start(service: str, folder: Path) -> Identity:
    starting = asyncio.current_task()
    assert starting  # noqa: S101 - this is one
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, starting.cancel)
    async with LocalStack(folder, services=[service], durable=False) as stack:
        return stack.identity_of(service)


def _temporary_folder(home: Home) -> Path:
    """Create a folder in the state folder, or beside the place where the state folder will be created."""
    name = os.fsdecode(os.fsencode(home.path.name)[:SAME_NAME_BYTES])
    if home.is_marked:
        return Path(tempfile.mkdtemp(dir=home.path, prefix="doctor-"))
    place = next(folder for folder in home.path.parents if folder.is_dir())
    return Path(tempfile.mkdtemp(dir=place, prefix=f".{name}-doctor-"))
