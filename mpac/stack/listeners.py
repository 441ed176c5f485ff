"""Find out which process listens on a port, from the kernel's tables.

An answer on a port does not prove that our own process gave it: another one may listen there. Linux only; on other systems the
expected process is assumed to be the one that answers.
"""

import contextlib
import os
from pathlib import Path

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
LISTENS = "0A"  # the state's number in these tables


def listens(pid: int, port: int) -> bool:
    """Return whether the process ``pid`` listens on ``port``; True if that cannot be known."""
    sockets = _listening_sockets(port)
    try:
        return sockets is None or bool(sockets & _sockets_of(pid))
    except PermissionError:
        return True
    except OSError:  # it has ended
        return False


def listener_on(port: int) -> str:
    """Name the process that listens on ``port``; empty if there is none or it is hidden from us."""
    sockets = _listening_sockets(port) or set()
    for folder in Path("/proc").glob("[0-9]*") if sockets else ():
        with contextlib.suppress(OSError):
            if sockets & _sockets_of(int(folder.name)):
                return f"{(folder / 'comm').read_text().strip()} (pid {folder.name})"
    return ""


def _listening_sockets(port: int) -> set[str] | None:
    """Return the sockets listening on ``port`` as ``socket:[inode]``.

    The links in ``/proc/PID/fd`` have this form.
    """
    found: set[str] = set()
    for table in TABLES:
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            if table == TABLES[0]:
                return None
            continue
        for fields in map(str.split, rows):
            if fields[3] == LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _sockets_of(pid: int) -> set[str]:
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found
