"""The state folder: everything a local stack stores on disk, in one private place.

The folder has mode 0700 and its files 0600, because they hold passwords and keys. A marker file identifies it: a folder with
other files is refused, so that neither ``chmod`` nor ``reset`` ever touches something that is not ours.
"""

import contextlib
import os
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mpac.cli.errors import UserError
from mpac.cli.offline_help import closest_match

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_HOME = ROOT / ".mpac"

LONGEST_PATH = 440
"""Bytes. SQLite, in which the sandbox stores its ledger, accepts 512, and PostgreSQL 1,024, including file names."""

FOLDER_MODE = 0o700
FILE_MODE = 0o600
MARK = "mpac-home"
MARK_TEXT = "The state folder of a local MPAC SmartPOS Payments stack. `python3 run.py reset` empties it.\n"


def command(arguments: str, home: Path) -> str:
    """Return the command line that runs ``arguments`` on the folder ``home``.

    A person can type the command line in any shell.
    """
    named = "" if home.absolute() == DEFAULT_HOME else f" --home {shlex.quote(str(home.absolute()))}"
    return f"python3 run.py {arguments}{named}"


def suggest_home(home: Path) -> str:
    """Return the question "Did you mean …?" for a state folder beside ``home`` with a similar name.

    Return an empty string if there is no such folder.
    """
    found: list[str] = []
    with contextlib.suppress(OSError):
        if not (home / MARK).is_file():
            found = [folder.name for folder in home.absolute().parent.iterdir() if (folder / MARK).is_file()]
    near = closest_match(home.name, found)
    return f" Did you mean `--home {shlex.quote(str(home.absolute().with_name(near)))}`?" if near else ""


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one state folder; ``open_home`` creates and checks it."""

    path: Path

    @property
    def run_file(self) -> Path:
        return self.path / "run.json"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def starting_file(self) -> Path:
        return self.path / "starting"

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def valkey(self) -> Path:
        return self.path / "valkey"

    @property
    def sandbox(self) -> Path:
        return self.path / "sandbox"

    @property
    def reports(self) -> Path:
        return self.path / "reports"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def ready(self) -> Path:
        return self.path / "ready"

    @property
    def is_marked(self) -> bool:
        return (self.path / MARK).is_file()


def open_home(path: Path | str) -> Home:
    """Create the state folder if it is missing and return it. Raises ``UserError`` if it can't be used."""
    home = Home(Path(path).absolute())
    length = len(os.fsencode(home.path))
    if length > LONGEST_PATH:
        raise UserError(
            f"The path of the state folder has {length} bytes, and the servers accept at most {LONGEST_PATH}: "
            "choose a shorter one with --home or MPAC_HOME."
        )
    try:
        home.path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if not home.is_marked:
            _claim(home)
    except OSError as error:
        raise UserError(
            f"The state folder {home.path} can't be used ({error.strerror}): choose another with --home or MPAC_HOME."
        ) from error
    return home


def private_folder(path: Path) -> Path:
    """Create a folder that only its owner can enter, and return it."""
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    return path


def write_private(path: Path, content: str | bytes) -> None:
    """Replace a file atomically, readable by its owner only: no reader ever sees half of it."""
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def empty_home(home: Home) -> None:
    """Delete all state but the folder itself. Raises ``UserError`` for a folder without our marker file."""
    if not home.is_marked:
        raise UserError(f"{home.path} is not a state folder of mpac, so nothing in it was deleted.")
    for entry in home.path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != home.lock_file:  # the caller holds it; a concurrent `up` must find the same file
            entry.unlink()
    write_private(home.path / MARK, MARK_TEXT)


def _claim(home: Home) -> None:
    if any(home.path.iterdir()):
        raise UserError(f"{home.path} holds other files: choose a new or empty folder with --home or MPAC_HOME.")
    home.path.chmod(FOLDER_MODE)
    write_private(home.path / MARK, MARK_TEXT)
