"""On a terminal, `up` prints readable lines, shows the addresses after Enter, and leaves keys and jobs to the shell."""

import asyncio
import os
import pty
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpac.stack.run_file import read_run, start_time
from mpac.stack.state_folder import ROOT, Home
from tests.integration.mpac.stack_harness import mpac
from tests.polling import HANGS_AFTER_SECONDS, eventually, until

UP = f"{shlex.quote(sys.executable)} -m mpac up --only valkey --ports free"
HINT = "Press Enter to see this again, Ctrl-C to stop."


class Shell:
    """An interactive shell on a pseudo-terminal: sends keys, and collects everything that the screen shows."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            own = {name: value for name, value in os.environ.items() if not name.startswith("MPAC_")}
            variables = {**own, "MPAC_HOME": str(home), "PS1": "$ ", "TERM": "xterm", **variables}
            os.chdir(ROOT)
            os.execvpe("bash", ["bash", "--noprofile", "--norc", "-i"], variables)
        os.set_blocking(self._terminal, False)
        self._said = b""

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    @property
    def screen(self) -> str:
        """All output so far."""
        try:
            while said := os.read(self._terminal, 65_536):
                self._said += said
        except OSError:  # no more output for now, or the shell has ended
            pass
        return self._said.decode(errors="replace")

    async def shows(self, text: str, *, times: int = 1, typing: str = "") -> None:
        """Wait until ``text`` has appeared ``times`` times.

        ``typing`` is typed repeatedly until then, because the started command may not have control of the terminal yet.
        """

        async def count() -> int:
            if typing:
                self.type(typing)
                await asyncio.sleep(0.1)
            return self.screen.count(text)

        await eventually(count, until=lambda seen: seen >= times, within=HANGS_AFTER_SECONDS)

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._terminal)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield a state folder. A stack that the test leaves running is stopped afterwards."""
    yield tmp_path / "state"
    mpac("down", home=tmp_path / "state")


@pytest.fixture
def shell(home: Path) -> Iterator[Shell]:
    shell = Shell(home)
    yield shell
    shell.close()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_enter_prints_the_addresses_again_and_ctrl_c_stops_the_stack_cleanly(shell: Shell, home: Path) -> None:
    shell.type(f"{UP}; echo ended-$?\r")
    await shell.shows(HINT)
    broker = (read_run(Home(home)) or {})["broker_url"]
    assert shell.screen.count(broker) == 1, "with its password: it is a terminal"
    shell.type("\r")
    await shell.shows(broker, times=2)
    shell.type("\x04anything\r")  # Ctrl-D does not stop it
    await shell.shows(broker, times=3)
    assert "\x1b[" in shell.screen, "levels and processes are coloured"
    assert '{"' not in shell.screen
    shell.type("\x03")
    await shell.shows("ended-0")
    assert "stopping; payments in progress are finished first." in shell.screen
    assert (home / "logs" / "supervisor.log").read_text().startswith('{"at"'), "the file is for programs"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at the state of a process in /proc")
async def test_a_background_job_of_a_shell_is_not_stopped_by_typed_input(shell: Shell, home: Path) -> None:
    shell.type(f"{UP} &\r")
    await shell.shows(HINT)
    pid = (read_run(Home(home)) or {})["pids"]["supervisor"]
    shell.type("\r\recho typed-$((40 + 2))\r")
    await shell.shows("typed-42")
    assert state_of(pid) not in {"T", "t"}
    assert shell.screen.count(HINT) == 1, "what is typed is the shell's"
    shell.type("fg\r")
    await shell.shows(HINT, times=2, typing="\r")
    shell.type("\x1a")  # Ctrl-Z
    await shell.shows("Stopped")
    assert state_of(pid) == "T"
    shell.type("fg\r")
    await until(lambda: state_of(pid) != "T", within=HANGS_AFTER_SECONDS)  # an earlier Ctrl-C would discard the "fg"
    await shell.shows("stopping; payments in progress are finished first.", typing="\x03")
    await until(lambda: start_time(pid) == "", within=HANGS_AFTER_SECONDS)


async def test_a_dumb_terminal_without_standard_input_gets_no_colours_and_no_hint(home: Path) -> None:
    shell = Shell(home, TERM="dumb")
    try:
        shell.type(f"{UP} <&-; echo ended-$?\r")
        await shell.shows("Ready.")
        shell.type("\x03")
        await shell.shows("ended-0")
    finally:
        shell.close()
    assert "supervisor" in shell.screen
    assert "\x1b[3" not in shell.screen
    assert HINT not in shell.screen
