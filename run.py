"""Create the environment if needed, then pass the arguments to `mpac`: ``python3 run.py up``, ``python3 run.py test``.

This file uses the standard library only, because it runs before anything is installed, with no more than Python 3.11 and pip.

| step | when |
|---|---|
| ``.venv`` beside this file (or MPAC_VENV) | it is missing or its Python is gone; no ensurepip is needed |
| install the wheels of requirements.lock | its hash is not the one in the stamp file |
| become ``python -m mpac ARGUMENTS`` | always; at once if the two steps above have nothing to do |

uv installs the packages: the one on PATH, else the locked one, which pip fetches first. From empty caches that took 3.5 s, and
pip alone took 32 s. If uv fails, pip installs everything, since it may know mirrors and certificates that uv does not. pip
gets ``--no-deps``: the lock is complete, and pip before 23.3 treated ``coverage[toml]>=7`` of a package as a requirement
without a pin, although the lock pins coverage.

Ctrl-C is blocked while modules are imported, here and in mpac, until a sentence can be printed instead of a traceback.
"""

import signal

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
UNFINISHED = "mpac-unfinished"  # inside the environment while it is being filled
STAMP = "mpac-stamp"  # inside the environment: the hash of the lock file that was installed
LOCKED = "mpac-lock"  # not .lock: uv's own lock has that name, and uv would wait for ours
# The requirements come from standard input: pip can't print a path that is not UTF-8.
PINNED = ("--require-hashes", "--only-binary", ":all:", "--requirement")
# uv trusts its own list by default; behind a company proxy the system list is right. The new name and the old one.
SYSTEM_CERTIFICATES = {"UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
UV_ELSEWHERE = {"UV_SYSTEM_PYTHON", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_EXCLUDE_NEWER", "UV_NO_BINARY"}
# Where and how pip gets packages; every other PIP_ variable is about what to install, and where.
PIP_SOURCES = ("INDEX_URL", "EXTRA_INDEX_URL", "NO_INDEX", "FIND_LINKS", "TRUSTED_HOST", "CERT", "CLIENT_CERT", "PROXY")
PIP_WAYS = ("CONFIG_FILE", "CACHE_DIR", "NO_CACHE_DIR", "TIMEOUT", "DEFAULT_TIMEOUT", "RETRIES", "RESUME_RETRIES")
PIP_KEPT = {
    f"PIP_{name}" for name in (*PIP_SOURCES, *PIP_WAYS, "KEYRING_PROVIDER", "USE_FEATURE", "USE_DEPRECATED", "LOG")
}
NO_CACHE = "Failed to initialize cache"  # uv's message
NO_ROOM = os.strerror(errno.ENOSPC)  # pip would fail in the same way, a minute later
MOST_LINES = 10  # shown of the beginning and of the end of a failed program's output
OLDEST_PYTHON = (3, 11)
INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
# venv refuses a path with a colon because of PATH, which nothing here uses to find the environment.
MAKE = "import os, sys, venv; os.pathsep = chr(0); venv.main(sys.argv[1:])"
BECOME = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('mpac', {}, '__main__', alter_sys=True)"
)


class UserError(Exception):
    """A sentence that says what went wrong and what to do."""


def main() -> None:
    """Prepare the environment if needed, then become mpac."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if sys.version_info < OLDEST_PYTHON:
            raise UserError(
                f"Python 3.11 or newer is needed and this is {sys.version.split()[0]}: use a newer python3."
            )
        environment = Path(os.environ.get("MPAC_VENV") or ROOT / ".venv").absolute()
        check_name(environment)
        if not is_up_to_date(environment):
            answer_without_environment(sys.argv[1:])
            with locked(environment):
                if not is_up_to_date(environment):  # another process may have prepared it while we waited
                    prepare(environment)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # execv preserves it; `mpac` unblocks it
    except UserError as error:
        sys.exit(f"run.py: {error}")
    except KeyboardInterrupt:
        print_progress("Interrupted; run it again to continue.")
        sys.exit(INTERRUPTED)
    python = str(environment / "bin" / "python")
    os.environ["PYTHONUTF8"] = "1"  # whatever the locale is: paths and sentences may not be ASCII
    # -P: a folder in the user's working folder that is named like a package of ours must not be imported.
    os.environ["PYTHONPATH"] = str(ROOT)
    command = [python, "-P", "-m", "mpac"]
    if os.pathsep in str(ROOT):
        # PYTHONPATH would be split there. Processes that mpac starts find it by their working folder.
        del os.environ["PYTHONPATH"]
        command = [python, "-P", "-c", BECOME, str(ROOT)]
    os.execv(python, [*command, *sys.argv[1:]])  # noqa: S606 - our own interpreter, no shell


def check_name(environment: Path) -> None:
    """Raise ``UserError`` if the path of the environment is one to which neither uv nor pip can install."""
    try:
        os.fsencode(environment).decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"The path {display_path(environment)} is not UTF-8, and packages cannot be installed there: "
            "set MPAC_VENV to another folder of your own, for instance MPAC_VENV=~/mpac-venv."
        ) from error


def answer_without_environment(arguments: list[str]) -> None:
    """Print help or report a mistyped command, and exit; return if the command has to be run.

    Works before the virtual environment is installed.
    """
    sys.path.insert(0, str(ROOT))
    from mpac.cli.offline_help import answer_offline  # noqa: PLC0415 - rarely needed; it imports the standard library only

    found = answer_offline(arguments)
    if found:
        code, text = found
        with contextlib.suppress(BrokenPipeError):
            print(text if code == 0 else f"mpac: {text}", file=sys.stderr if code else sys.stdout, flush=True)
        os._exit(code)  # at once: the interpreter would report a closed pipe


def is_up_to_date(environment: Path) -> bool:
    """Return whether the environment holds exactly what the lock file lists."""
    stamp = environment / STAMP
    return stamp.exists() and (environment / "bin" / "python").exists() and stamp.read_text() == wanted_stamp()


def wanted_stamp() -> str:
    """Return the stamp of a complete environment: the hash of the lock file."""
    try:
        return hashlib.sha256(LOCK.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(
            f"{display_path(LOCK)} can't be read ({error.strerror}): restore it from the repository."
        ) from error


@contextlib.contextmanager
def locked(environment: Path) -> Iterator[None]:
    """Hold the environment's lock, so that two commands started at once do not install over each other."""
    try:
        environment.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(environment / LOCKED, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(
            f"{display_path(environment)} can't be created or changed ({error.strerror}): "
            "set MPAC_VENV to a folder of your own, for instance MPAC_VENV=~/mpac-venv."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def prepare(environment: Path) -> None:
    """Create the environment if it is missing or broken, and install the locked wheels into it."""
    python = environment / "bin" / "python"
    unfinished = environment / UNFINISHED
    if unfinished.exists():  # a package that is half installed would count as installed
        for folder in ("bin", "lib"):
            shutil.rmtree(environment / folder, ignore_errors=True)
    try:
        unfinished.touch()
        if not is_usable(python):
            print_progress(f"Creating {display_path(environment)} …")
            python.unlink(missing_ok=True)  # a link to a Python that is gone stops venv
            run_or_fail([sys.executable, "-c", MAKE, "--without-pip", str(environment)], "create it")
        print_progress("Installing the packages of requirements.lock; the first time takes up to a minute …")
        install(python)
        (environment / STAMP).write_text(wanted_stamp())
        unfinished.unlink()
    except OSError as error:
        raise UserError(
            f"{display_path(environment)} can't be filled ({error.strerror}): fix that, then run it again."
        ) from error


def is_usable(python: Path) -> bool:
    """Return whether ``python`` runs and has the version of this interpreter."""
    code = "import sys; print(sys.version_info[:2] == " + repr(tuple(sys.version_info[:2])) + ")"
    with contextlib.suppress(OSError):
        return (
            subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip() == "True"
        )
    return False


def install(python: Path) -> None:
    """Install with uv, else with pip. Raises ``UserError`` after printing the causes, the first one first."""
    lines = LOCK.read_text("utf-8")
    uv, causes = shutil.which("uv"), []
    if not uv and not has_pip():
        raise UserError(
            "Neither uv nor pip was found, and one of them is needed to install the packages: install pip "
            "(Debian, Ubuntu: apt install python3-pip; elsewhere: python3 -m ensurepip) or uv. Then run it again."
        )
    if not uv:
        uv, output = install_locked_uv(lines, python)
        causes = [] if uv else [("pip could not install uv", output)]
    if uv:
        output = install_by_uv(uv, lines, python)
        causes = [("uv could not install the packages", output)] if output else []
    if causes and has_pip() and NO_ROOM not in causes[0][1]:
        print_progress(f"{causes[0][0]}; trying pip, which takes longer …")
        output = install_by_pip(lines, python)
        causes = [*causes, ("pip could not install the packages", output)] if output else []
    for what, output in causes:
        print_progress(f"{what}:\n{output}")
    if causes:
        raise UserError("The packages could not be installed. Fix the first reason above, then run it again.")
    check_installed(python)


def check_installed(python: Path) -> None:
    """Raise ``UserError`` if packages were installed elsewhere, as configuration of pip and uv can cause."""
    code = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ('celery', 'click', 'psycopg'))))"
    if subprocess.run([python, "-I", "-c", code], capture_output=True, check=False).returncode != 0:
        raise UserError("The packages were not installed into the environment: check the configuration of pip and uv.")


def install_by_uv(uv: str, lines: str, python: Path) -> str:
    """Install with uv; return its output if it failed."""
    # Compile once here, not in each of the eight processes at each start: that halves the time to the first payment.
    command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *PINNED, "-"]
    others = {name: value for name, value in os.environ.items() if name not in UV_ELSEWHERE}
    output = output_if_failed(command, lines=lines, variables={**others, **SYSTEM_CERTIFICATES})
    if NO_CACHE in output:  # the home folder is read-only or belongs to another user
        output = output and output_if_failed(
            [*command, "--no-cache"], lines=lines, variables={**others, **SYSTEM_CERTIFICATES}
        )
    return output


def install_locked_uv(lines: str, python: Path) -> tuple[str | None, str]:
    """Install with pip only the uv that requirements.lock names; return its path, or pip's output."""
    found = re.search(r"^uv==.*?(?=^\S)", lines + "end\n", re.MULTILINE | re.DOTALL)
    if not found:
        return None, "    requirements.lock does not name uv"
    output = install_by_pip(re.sub(r"\s+# .*", "", found[0]), python)
    uv = python.with_name("uv")
    return (
        (str(uv), "")
        if not output and uv.exists()
        else (None, output or "    pip did not install it into the environment")
    )


def has_pip() -> bool:
    """Return whether the running Python has pip."""
    return importlib.util.find_spec("pip") is not None


def install_by_pip(lines: str, python: Path) -> str:
    """Install with the running Python's pip; return its output if it failed.

    The environment itself has no pip. Settings in files or variables about where to install are overridden.
    """
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    here = ["--no-input", "--root-user-action=ignore", "--no-user", "--target=", "--no-deps"]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PIP_") or name in PIP_KEPT}
    return output_if_failed([*command, *here, *PINNED, "/dev/stdin"], lines=lines, variables=variables)


def output_if_failed(command: list[str], *, variables: dict[str, str], lines: str = "") -> str:
    """Run a command on the input ``lines``; return the start and end of its output if it failed, else ""."""
    try:
        done = subprocess.run(
            command, input=lines.encode(), check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=variables
        )
    except OSError as error:
        return f"    {command[0]}: {error.strerror}"
    if done.returncode == 0:
        return ""
    output = [line for line in os.fsdecode(done.stdout).splitlines() if line.strip()]
    if len(output) > 2 * MOST_LINES:
        output = [*output[:MOST_LINES], "…", *output[-MOST_LINES:]]
    return "\n".join(f"    {line}" for line in output or [f"it printed nothing (exit code {done.returncode})"])


def run_or_fail(command: list[str], purpose: str) -> None:
    """Run a command. If it fails, print its output and raise ``UserError``."""
    output = output_if_failed(command, lines=LOCK.read_text("utf-8"), variables=dict(os.environ))
    if output:
        print_progress(output.strip())
        raise UserError(f"It was not possible to {purpose}. Fix the reason above, then run it again.")


def display_path(path: Path) -> str:
    """Return the path on one line, escaped if a terminal might not be able to show it."""
    return ascii(str(path)) if not str(path).isprintable() else str(path)


def print_progress(sentence: str) -> None:
    """Print progress to stderr, apart from the command's own output."""
    sys.stderr.write(f"run.py: {sentence}\n")


if __name__ == "__main__":
    main()
