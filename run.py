"""Makes the environment if need be, then hands every word to `mpac`: ``python3 run.py up``, ``python3 run.py test``.

Standard library only, because it runs before anything is installed, with no more than Python 3.11 and pip.

| step | when |
|---|---|
| ``.venv`` beside this file (or MPAC_VENV) | it is missing or its Python is gone; no ensurepip is needed |
| install the wheels of requirements.lock | its hash is not the one in the stamp file |
| become ``python -m mpac <words>`` | always; at once when the two above have nothing to do |

Installing goes through uv: the one on PATH, else the locked one, which pip fetches first. From empty caches that took
3.5 s where pip alone took 32 s. pip does it all if uv fails, since it knows mirrors and certificates uv may not.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
STAMP = "mpac-stamp"  # inside the environment: what was installed into it, by the hash of the lock file
LOCKED = "mpac-lock"  # not .lock: that is where uv keeps its own, and it would wait for ours
PINNED = ("--require-hashes", "--only-binary", ":all:", "--requirement")
# uv trusts a list of its own unless told; behind a company proxy the system list is right. New name, old name.
SYSTEM_CERTIFICATES = {"UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
OLDEST_PYTHON = (3, 11)


class Trouble(Exception):
    """What went wrong and what to do, in a sentence."""


def main() -> None:
    """Prepare what is missing, then become mpac."""
    try:
        if sys.version_info < OLDEST_PYTHON:
            raise Trouble(f"Python 3.11 or newer is needed and this is {sys.version.split()[0]}: use a newer python3.")
        environment = Path(os.environ.get("MPAC_VENV") or ROOT / ".venv").absolute()
        if not is_fresh(environment):
            answer_at_once(sys.argv[1:])
            with only_one(environment):
                if not is_fresh(environment):  # somebody else may have made it while we waited
                    prepare(environment)
    except Trouble as trouble:
        sys.exit(f"run.py: {trouble}")
    except KeyboardInterrupt:
        sys.exit("run.py: Interrupted; run it again to go on.")
    python = str(environment / "bin" / "python")
    # -P: a folder named like one of ours in the user's working folder must not be taken for it.
    os.environ["PYTHONPATH"] = str(ROOT)
    os.execv(python, [python, "-P", "-m", "mpac", *sys.argv[1:]])  # noqa: S606 - our own interpreter, no shell


def answer_at_once(words: list[str]) -> None:
    """Print help or the correction of a mistyped command, which need no environment, and end; else return."""
    sys.path.insert(0, str(ROOT))
    from mpac.command_line import answer  # noqa: PLC0415 - of the standard library only, and rarely needed

    found = answer(words)
    if found:
        code, text = found
        with contextlib.suppress(BrokenPipeError):
            print(text if code == 0 else f"mpac: {text}", file=sys.stderr if code else sys.stdout, flush=True)
        os._exit(code)  # at once: the interpreter would complain about a reader that has gone


def is_fresh(environment: Path) -> bool:
    """Whether the environment holds exactly what the lock file says."""
    stamp = environment / STAMP
    return stamp.exists() and (environment / "bin" / "python").exists() and stamp.read_text() == wanted_stamp()


def wanted_stamp() -> str:
    """What the stamp says when all is done."""
    try:
        return hashlib.sha256(LOCK.read_bytes()).hexdigest()
    except OSError as error:
        raise Trouble(f"{LOCK} can't be read ({error.strerror}): restore it from the repository.") from error


@contextlib.contextmanager
def only_one(environment: Path) -> Iterator[None]:
    """Hold the environment, so that two commands started at once do not install over each other."""
    try:
        environment.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(environment / LOCKED, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Trouble(
            f"{environment} can't be made or changed ({error.strerror}): "
            "set MPAC_VENV to a folder of your own, for instance MPAC_VENV=~/mpac-venv."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def prepare(environment: Path) -> None:
    """Make the environment where it is missing or broken, and install the locked wheels into it."""
    python = environment / "bin" / "python"
    if not works(python):
        say(f"Making {environment} …")
        python.unlink(missing_ok=True)  # a link to a Python that is gone stops venv
        must([sys.executable, "-m", "venv", "--without-pip", str(environment)], "make it")
    say("Installing the packages of requirements.lock; the first time takes up to a minute …")
    if not install_by_uv(python):
        must([*pip(python), *PINNED, str(LOCK)], "install the packages")
    (environment / STAMP).write_text(wanted_stamp())


def works(python: Path) -> bool:
    """Whether it is an interpreter of the version we run on."""
    ask = "import sys; print(sys.version_info[:2] == " + repr(tuple(sys.version_info[:2])) + ")"
    with contextlib.suppress(OSError):
        return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False).stdout.strip() == "True"
    return False


def install_by_uv(python: Path) -> bool:
    """Install with uv; False if there is none or it fails, which pip then has to explain."""
    uv = shutil.which("uv") or locked_uv(python)
    if not uv:
        return False
    # Compiled once here, not by each of the eight processes at each start: that halves the time to the first payment.
    words = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *PINNED, str(LOCK)]
    variables = {**os.environ, **SYSTEM_CERTIFICATES}
    return subprocess.run(words, capture_output=True, check=False, env=variables).returncode == 0


def locked_uv(python: Path) -> str | None:
    """The uv that requirements.lock names, installed alone by pip."""
    found = re.search(r"^uv==.*?(?=^\S)", LOCK.read_text() + "end\n", re.MULTILINE | re.DOTALL)
    if not found:
        return None
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirement:
        requirement.write(re.sub(r"\s+# .*", "", found[0]))
        requirement.flush()
        done = subprocess.run([*pip(python), *PINNED, requirement.name], capture_output=True, check=False)
    uv = python.with_name("uv")
    return str(uv) if done.returncode == 0 and uv.exists() else None


def pip(python: Path) -> list[str]:
    """The pip of the Python that runs us, working on the environment, which has none of its own."""
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--root-user-action=ignore"]
    return [sys.executable, "-m", "pip", "--python", str(python), "install", *quiet]


def must(words: list[str], purpose: str) -> None:
    """Run it; its own output says why it failed."""
    if subprocess.run(words, check=False, stdout=sys.stderr).returncode != 0:
        raise Trouble(f"It was not possible to {purpose}; the reason stands above. Then run it again.")


def say(sentence: str) -> None:
    """Progress, kept apart from the words' own output."""
    sys.stderr.write(f"run.py: {sentence}\n")


if __name__ == "__main__":
    main()
