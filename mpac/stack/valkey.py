"""Run Valkey from a wheel: the broker, on 127.0.0.1 with a password, its data in the state folder.

Its options are in a file, because every user of the machine can read a command line. No path is in that file, because the file
has its own quoting rules and lines of at most 1,024 bytes; instead the server runs in its folder. ``noeviction``: a broker
that drops messages to make room would look healthy while it loses work.
"""

import asyncio
import re
import signal

from mpac.stack.database_profile import ORDINARY
from mpac.stack.listeners import listens
from mpac.stack.ports import HOST
from mpac.stack.server_binaries import valkey_binary
from mpac.stack.service_process import ServiceProcess
from mpac.stack.state_folder import Home, private_folder, write_private

OPTIONS = """\
bind {host}
port {port}
requirepass {password}
appendonly {append_only}
save ""
maxmemory-policy noeviction
daemonize no
loglevel warning
"""
ANSWER_WITHIN_SECONDS = 1


async def valkey(home: Home, *, port: int, password: str, durable: bool) -> ServiceProcess:
    """Write the server's options and return its process."""
    folder = private_folder(home.valkey)
    options = folder / "valkey.conf"
    write_private(
        options,
        OPTIONS.format(
            host=HOST,
            port=port,
            password=password,
            append_only="yes" if durable else "no",
        ),
    )

    async def ready(pid: int) -> bool:
        return await _answers(port, password) and listens(pid, port)

    return ServiceProcess(
        name="valkey",
        command=(str(valkey_binary()), _as_pattern(str(options))),
        folder=str(folder),  # its default for `dir`
        ready=ready,
        death_signal=signal.SIGTERM,  # it flushes its log and ends at once
    )


def broker_url(port: int, password: str, *, number: int = ORDINARY.broker_number) -> str:
    """Return the URL; Celery's transport is called ``redis://``, whatever the server is."""
    return f"redis://:{password}@{HOST}:{port}/{number}"


def _as_pattern(path: str) -> str:
    """Return ``path`` with its glob characters escaped.

    Valkey treats the name of a configuration file with ``*``, ``?`` or ``[`` as a pattern. If no file matched the pattern,
    Valkey would start without our options: on its default port, without a password.
    """
    return re.sub(r"[\\*?\[\]]", r"\\\g<0>", path) if any(character in path for character in "*?[") else path


async def _answers(port: int, password: str) -> bool:
    """Return whether the server answers.

    A client library would cost the supervisor more than the whole server.
    """
    try:
        async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(f"AUTH {password}\r\nPING\r\n".encode())
                return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
                await writer.wait_closed()
    except OSError:  # TimeoutError is one
        return False
