"""run.py installs only what has changed, needs only the standard library, and reports errors in one sentence."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import run
from mpac.stack.state_folder import ROOT

PRESSES_CTRL_C = """
import os, signal, sys

class Press:
    def find_spec(self, name, path=None, target=None):
        if name == "NAME":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Press())
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Return a folder that looks like an up-to-date virtual environment."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / run.STAMP).write_text(run.wanted_stamp())
    return tmp_path


def test_environment_is_fresh_while_the_lock_file_is_unchanged(environment: Path) -> None:
    assert run.is_up_to_date(environment)


def test_environment_is_stale_after_a_change_of_the_lock_file_or_a_missing_python(environment: Path) -> None:
    (environment / run.STAMP).write_text("another")
    assert not run.is_up_to_date(environment)
    (environment / run.STAMP).write_text(run.wanted_stamp())
    (environment / "bin" / "python").unlink()
    (environment / "bin" / "python").symlink_to("/nowhere/python")
    assert not run.is_up_to_date(environment)
    assert not run.is_usable(environment / "bin" / "python")


def test_the_current_interpreter_is_accepted() -> None:
    assert run.is_usable(Path(sys.executable))


def test_run_py_imports_only_the_standard_library() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import run"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, str(ROOT)], check=True)


def test_the_lock_file_contains_no_url() -> None:
    lines = run.LOCK.read_text().splitlines()
    assert all("://" not in line for line in lines)
    assert any(line.startswith("uv==") for line in lines)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root may not write to")
def test_an_unwritable_environment_folder_is_reported_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "status"],
        env={"MPAC_VENV": "/proc/mpac-venv", "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("run.py: /proc/mpac-venv can't be created or changed")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "imported", "said"),
    [
        ([str(ROOT / "run.py"), "status"], "fcntl", "run.py: Interrupted"),
        (["-m", "mpac", "status"], "click", "mpac: Interrupted."),
    ],
)
def test_ctrl_c_during_imports_is_reported_without_a_traceback(
    tmp_path: Path, words: list[str], imported: str, said: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(PRESSES_CTRL_C.replace("NAME", imported))
    variables = {**os.environ, "MPAC_VENV": sys.prefix, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    blocks = "import os, sys; from signal import *; pthread_sigmask(SIG_BLOCK, {SIGINT}); os.execv(sys.argv[1], sys.argv[1:])"
    hands_over = [sys.executable, "-I", "-c", blocks] if words[0] == "-m" else []  # as run.py starts it
    done = subprocess.run(
        [*hands_over, sys.executable, *words], env=variables, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (130, False), done.stderr
    assert said in done.stderr


def test_a_child_interrupted_during_imports_ends_without_a_traceback() -> None:
    code = PRESSES_CTRL_C.replace("NAME", "ctypes") + "import runpy; runpy.run_path(sys.argv[1], run_name='__main__')"
    words = [sys.executable, "-I", "-S", "-c", code, str(ROOT / "mpac" / "stack" / "exec_wrapper.py")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
