"""Every invalid call of an `mpac` command ends with one plain sentence and without a traceback, whatever was raised."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mpac.stack.state_folder import ROOT
from tests.polling import GENEROUS_SECONDS, HANGS_AFTER_SECONDS

AWAY = {
    "MPAC_DATABASE_URL": "postgresql://mpac:secret@127.0.0.1:1/mpac",
    "MPAC_BROKER_URL": "redis://127.0.0.1:1/0",
    "MPAC_SECRET_KEY": "a key of the test",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state folder with secrets and without a running stack."""
    folder = tmp_path_factory.mktemp("sentences") / "state"
    assert mpac("secrets", home=folder).returncode == 0
    return folder


def mpac(*words: str, home: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mpac", *words],
        cwd=ROOT,
        env={**os.environ, "MPAC_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER_SECONDS,
    )


def one_sentence(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the single line of standard error of a failed command."""
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert "secret" not in line
    return line


STATEMENT = ("statement", "--settlement", "stl_1", "--out", "x.csv")


@pytest.mark.parametrize(
    "words",
    [("invariants",), ("seed",), ("token", "--role", "staff"), STATEMENT, ("migrate",)],
    ids=lambda words: words[0],
)
def test_an_unreachable_database_is_reported_in_a_sentence(home: Path, words: tuple[str, ...]) -> None:
    assert "does not answer" in one_sentence(mpac(*words, home=home, **AWAY))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "x.txt"), "--out must end in .csv or .ndjson, not x.txt."),
        (("--out", "x.csv", "--provider", "visa"), "No such provider with statements 'visa'. Choose from: sandbox"),
    ],
    ids=["file", "provider"],
)
def test_invalid_options_of_the_statement_command_are_reported_in_a_sentence(
    home: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in one_sentence(mpac("statement", "--settlement", "stl_1", *words, home=home, **AWAY))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MPAC_DATABASE_URL": "mpac:secret@here"}, "MPAC_DATABASE_URL (Write it like postgresql://"),
        ({"MPAC_BROKER_URL": "here:6379"}, "MPAC_BROKER_URL (Write it like redis://"),
        ({"MPAC_LEASE_SECONDS": "secret"}, "MPAC_LEASE_SECONDS ("),
        ({"MPAC_SECRET_KEY": "", "MPAC_CALLS_IN_FLIGHT": "0"}, "MPAC_CALLS_IN_FLIGHT ("),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_invalid_settings_are_reported_in_a_sentence(home: Path, variables: dict[str, str], said: str) -> None:
    assert said in one_sentence(mpac("invariants", home=home, **{**AWAY, **variables}))


@pytest.mark.parametrize("word", ["api", "worker", "beat"])
def test_a_process_with_invalid_settings_exits_with_a_sentence(home: Path, word: str) -> None:
    assert "MPAC_LEASE_SECONDS (" in one_sentence(mpac(word, home=home, **AWAY, MPAC_LEASE_SECONDS="secret"))


def test_an_api_without_a_device_token_key_names_the_missing_setting(home: Path) -> None:
    for file in ("", "/nowhere/key.pem"):
        said = one_sentence(mpac("api", "--port", "8799", home=home, **AWAY, MPAC_DEVICE_TOKEN_KEY_FILE=file))
        assert "MPAC_DEVICE_TOKEN_KEY_FILE" in said


def test_an_api_without_authentication_settings_names_the_missing_settings(home: Path) -> None:
    folder = home / "secrets"
    keys = {"MPAC_DEVICE_TOKEN_KEY_FILE": str(folder / "device-token-key.pem")}
    users = {"MPAC_USER_JWKS_FILE": str(folder / "user-jwks.json")}
    for host, variables, missing in (
        ("0.0.0.0", keys, "MPAC_PUBLIC_URL must be set"),
        ("127.0.0.1", {**keys, "MPAC_PUBLIC_URL": "pay.example"}, "MPAC_PUBLIC_URL ("),
        ("127.0.0.1", {**keys, **users}, "MPAC_USER_TOKEN_ISSUER and MPAC_USER_TOKEN_AUDIENCE must be set"),
        ("127.0.0.1", {**keys, **users, "MPAC_USER_TOKEN_ISSUER": "x"}, "MPAC_USER_TOKEN_AUDIENCE must be set"),
        ("127.0.0.1", {**keys, "MPAC_TRUSTED_PROXIES": "proxy"}, "MPAC_TRUSTED_PROXIES ("),
    ):
        done = mpac("api", "--host", host, "--port", "8799", home=home, **AWAY, **variables)
        assert done.returncode != 0
        (line,) = done.stderr.strip().splitlines()
        assert missing in line


@pytest.mark.parametrize("word", ["up", "down", "status", "invariants", "secrets", "demo"])
def test_an_impossible_state_folder_is_reported_in_a_sentence(word: str) -> None:
    said = one_sentence(mpac(word, home=ROOT / "README.md" / "state"))
    assert "can't be used" in said


def test_the_doctor_reports_an_impossible_state_folder_among_its_results() -> None:
    done = mpac("doctor", home=ROOT / "README.md" / "state")
    assert done.returncode == 1
    assert done.stderr == ""
    assert "NO    state folder" in done.stdout
    assert "ok    Python" in done.stdout


def test_mpac_without_a_command_lists_the_commands(home: Path) -> None:
    done = mpac(home=home)
    assert done.stdout.startswith("Usage: python3 run.py")
    assert done.stderr == ""


TIDY = """
import pathlib, signal, sys, time
def tidy(*_):
    time.sleep(1)
    pathlib.Path(sys.argv[1]).write_text("tidied")
    raise SystemExit(2)
signal.signal(signal.SIGINT, tidy)
print("ready", flush=True)
time.sleep(60)
"""
RUNS_CHILD = """
import pathlib, sys
from mpac.cli.child_process import run_child
run_child(sys.argv[1:], cwd=pathlib.Path.cwd())
"""


def test_a_child_process_may_clean_up_after_ctrl_c(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    words = [sys.executable, "-c", RUNS_CHILD, sys.executable, "-c", TIDY, str(trace)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(GENEROUS_SECONDS) != 0
    assert trace.read_text() == "tidied"
