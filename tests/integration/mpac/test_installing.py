"""run.py installs with old and new versions of pip, and explains why it cannot.

pip and uv are real. The two old versions of pip come from the package registry; without it, their tests are skipped with
that reason.
"""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import run
from mpac.stack.state_folder import ROOT
from tests.polling import HANGS_AFTER_SECONDS

# The pip of Python 3.11.0, and that of Debian 12.
OLD_PIPS = ("22.3.1", "23.0.1")
REFUSED_BY_OLD_PIPS = ("pytest-cov", "coverage")  # the first requires coverage[toml]>=7.10.6, the lock pins coverage
CLOSED_PORT = "http://127.0.0.1:9/simple"


def bare_python(folder: Path) -> Path:
    """Create an environment without pip, and return its interpreter."""
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python"


def locked(*names: str) -> str:
    """Return the lines of requirements.lock for these packages."""
    found = re.findall(r"^[a-z0-9-]+==.*?(?=^\S|\Z)", run.LOCK.read_text(), re.MULTILINE | re.DOTALL)
    return "".join(block for block in found if block.partition("==")[0] in names)


@pytest.fixture(params=OLD_PIPS)
def old_pip(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return an interpreter with an old pip, or skip the test if that pip cannot be fetched or run."""
    if sys.version_info >= (3, 12):
        pytest.skip(f"pip {request.param} needs a module that Python 3.12 removed, so no such Python has it")
    python = bare_python(tmp_path / "old")
    uv = Path(sys.executable).with_name("uv")
    words = [str(uv), "pip", "install", "--quiet", "--python", str(python), f"pip=={request.param}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=HANGS_AFTER_SECONDS)
    if done.returncode != 0:
        pytest.skip(f"pip {request.param} could not be fetched: {done.stderr.strip().splitlines()[-1:]}")
    return python


def test_old_pips_install_a_requirement_with_an_extra_despite_their_configuration(
    old_pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[install]\ntarget = {tmp_path / 'configured'}\nuser = true\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    for name, value in {
        "PIP_TARGET": str(tmp_path / "elsewhere"),
        "PIP_USER": "1",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_DRY_RUN": "1",
        "PIP_NO_BINARY": ":all:",
    }.items():
        monkeypatch.setenv(name, value)
    python = bare_python(tmp_path / "environment")
    monkeypatch.setattr(sys, "executable", str(old_pip))
    assert run.install_by_pip(locked(*REFUSED_BY_OLD_PIPS), python) == ""
    assert subprocess.run([python, "-I", "-c", "import coverage"], check=False).returncode == 0
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "configured").exists()


def test_without_uv_and_pip_the_error_names_the_package_to_install(tmp_path: Path) -> None:
    done = bootstrap(bare_python(tmp_path / "bare"), tmp_path, PATH="")
    assert done.returncode == 1
    assert "apt install python3-pip" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_error_of_uv_is_printed_before_that_of_pip(tmp_path: Path) -> None:
    done = bootstrap(
        Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}",
        tmp_path,
        PATH=str(Path(sys.executable).parent),
        UV_CACHE_DIR=str(tmp_path / "cache"),
        UV_DEFAULT_INDEX=CLOSED_PORT,
        UV_HTTP_RETRIES="0",
        PIP_CACHE_DIR=str(tmp_path / "cache-of-pip"),
        PIP_INDEX_URL=CLOSED_PORT,
        PIP_RETRIES="0",
    )
    assert done.returncode == 1
    first, second = (
        done.stderr.index("uv could not install the packages:\n"),
        done.stderr.index("pip could not install the packages:\n"),
    )
    assert "127.0.0.1:9" in done.stderr[first:second]
    assert not (tmp_path / "environment" / run.STAMP).exists()


def test_an_interrupted_installation_is_repeated_from_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = bare_python(tmp_path)
    half = Path(
        subprocess.check_output([python, "-c", "import site; print(site.getsitepackages()[0])"], text=True).strip()
    )
    (half / "celery").mkdir()
    (tmp_path / run.UNFINISHED).touch()
    monkeypatch.setattr(run, "install", lambda _python: None)  # other tests install packages
    run.prepare(tmp_path)
    assert run.is_usable(python)
    assert not (half / "celery").exists()
    assert run.is_up_to_date(tmp_path)


def test_an_environment_may_be_in_a_folder_with_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = tmp_path / "a:b"
    environment.mkdir()
    monkeypatch.setattr(run, "install", lambda _python: None)
    run.prepare(environment)
    assert run.is_usable(environment / "bin" / "python")


def test_an_environment_path_that_is_not_utf8_is_refused_with_advice(tmp_path: Path) -> None:
    done = bootstrap(Path(sys.executable), tmp_path, MPAC_VENV=os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    assert done.returncode == 1
    assert "is not UTF-8" in done.stderr
    assert "MPAC_VENV" in done.stderr


def bootstrap(python: Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `run.py doctor` with an environment that does not exist yet."""
    return subprocess.run(
        [python, str(ROOT / "run.py"), "doctor"],
        env={"HOME": str(folder), "MPAC_VENV": str(folder / "environment"), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER_SECONDS,
    )


def test_an_unwritable_home_directory_does_not_prevent_the_installation(tmp_path: Path) -> None:
    (tmp_path / "home").touch()  # even root cannot create a cache below a file
    uv = Path(sys.executable).with_name("uv")
    python = bare_python(tmp_path / "environment")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path / "home"))
        patch.setenv("UV_CACHE_DIR", str(tmp_path / "home" / "cache"))
        said = run.install_by_uv(str(uv), "", python)
    assert run.NO_CACHE not in said
