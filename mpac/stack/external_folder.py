"""Manage a folder outside the state folder, for files that PostgreSQL can't reach or run inside it.

| content | when |
|---|---|
| the data | the server runs as ``nobody``, who can't enter the state folder |
| a copy of the server's programs (25 MB) | ``nobody`` can't enter the environment either, for instance below /root |
| the same | initdb passes its own path to a shell in double quotes, and truncates it at 1,024 bytes |

The folder's name is a hash of the state folder's path. ``reset`` deletes it.
"""

import hashlib
import os
import pwd
import re
import shutil
from pathlib import Path

from mpac.cli.errors import UserError
from mpac.stack.server_binaries import WHEEL
from mpac.stack.state_folder import Home

PLACES = (Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - ownership is checked in open_outside
READABLE = 0o755
LONGEST_PATH = 900  # bytes; MAXPGPATH is 1,024, and names are added to it
UNSAFE = re.compile(rb'["$`\\\\\r\n]')  # characters that a shell changes within double quotes, and line breaks
LEFT_OUT = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "doc", "man")


def open_external_folder(home: Home, *, owner: int) -> Path:
    """Return the folder, and create it if it is missing. Only the user ``owner`` has access to it.

    Raises ``UserError`` if the path exists and is a link, has another owner or is accessible to other users.
    """
    folder = _external_folder(home)
    if not folder.exists() and not folder.is_symlink():
        folder.mkdir(mode=0o700)
        os.chown(folder, owner, -1)
    stat = folder.lstat()
    if stat.st_uid != owner or stat.st_mode & 0o077 or folder.is_symlink():
        raise UserError(f"{folder} belongs to another user: remove it, or set MPAC_DATABASE_URL to a server of yours.")
    return folder


def delete_external_folder(home: Home) -> None:
    """Delete the folder outside the state folder, if there is one."""
    outside = _external_folder(home)
    if outside.is_dir() and not outside.is_symlink():
        shutil.rmtree(outside)


def nobody_uid() -> int:
    """Return the uid of the user ``nobody``. Raises ``KeyError`` where there is none."""
    return pwd.getpwnam("nobody").pw_uid


def is_safe(binaries: Path) -> bool:
    """Return whether initdb can be run from this folder."""
    path = os.fsencode(binaries)
    return len(path) <= LONGEST_PATH and not UNSAFE.search(path)


def copy_programs(binaries: Path, home: Home, *, owner: int) -> Path:
    """Return the folder of a copy of PostgreSQL's programs that ``owner`` can run.

    The copy is created if it is missing.
    """
    installed = binaries.parent
    stat = (binaries / "postgres").stat()
    version = hashlib.sha256(os.fsencode(binaries) + f"{stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    target = open_external_folder(home, owner=owner) / f"programs-{version}"
    found = target / "package" / "installed" / "bin"
    if target.exists():
        return found
    for old in target.parent.glob("programs-*"):
        shutil.rmtree(old)
    unfinished = target.with_suffix(".unfinished")
    for name in ("lib", "share"):
        shutil.copytree(installed / name, unfinished / "package" / "installed" / name, ignore=LEFT_OUT)
    for libraries in installed.parent.parent.glob(f"{WHEEL}.libs"):  # as the programs' RPATH finds them
        shutil.copytree(libraries, unfinished / libraries.name)
    (unfinished / "package" / "installed" / "bin").mkdir()
    for name in ("initdb", "postgres"):
        shutil.copy(binaries / name, unfinished / "package" / "installed" / "bin")
    for path in (unfinished, *unfinished.rglob("*")):  # independent of the umask
        path.chmod(READABLE)
    unfinished.rename(target)
    return found


def _external_folder(home: Home) -> Path:
    place = next((place for place in PLACES if place.is_dir()), PLACES[0])
    return place / f"mpac-{hashlib.sha256(os.fsencode(home.path)).hexdigest()[:16]}"
