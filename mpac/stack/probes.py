"""Check whether a process is ready, without importing its code."""

import asyncio
from pathlib import Path

from mpac.stack.listeners import listens
from mpac.stack.ports import HOST
from mpac.stack.service_process import Probe

READY_FILE_VARIABLE = "WORKER_READY_FILE"  # not MPAC_…: it is not a setting of the product
ANSWER_WITHIN_SECONDS = 2  # a process that answers later counts as not ready


def answers_http(port: int, path: str) -> Probe:
    """Return a probe that succeeds when the probed process answers 200 to ``GET path``.

    An answer of another process on ``port`` does not count.
    """

    async def ready(pid: int) -> bool:
        return b" 200 " in await _first_line(port, path) and listens(pid, port)

    return ready


def wrote_its_pid(file: Path) -> Probe:
    """Return a probe that succeeds when ``file`` has the pid of the probed process.

    ``mpac.stack.ready_file`` writes the file. A file of an earlier process has another pid.
    """

    async def ready(pid: int) -> bool:
        return _text(file) == str(pid)

    return ready


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""


async def _first_line(port: int, path: str) -> bytes:
    try:
        async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode())
                line = await reader.readline()
                await reader.read()  # to the end, so that no server logs a closed connection
                return line
            finally:
                writer.close()
                await writer.wait_closed()
    except OSError:  # TimeoutError is one
        return b""
