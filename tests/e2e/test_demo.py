"""The demonstration, in short: it tells its story, both judges agree, and it leaves nothing running."""

import re
import subprocess
import sys
from pathlib import Path

import psutil

from mpac.stack.home import ROOT

LONGEST_SECONDS = 180  # a busy machine with two cores; alone it takes twenty


def test_a_short_demonstration_ends_well(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mpac", "demo", "--home", str(home)),
            "--ports",
            "free",
            "--terminals",
            "8",
            "--seconds",
            "4",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=LONGEST_SECONDS,
    )
    said = re.sub(r"\s+", " ", done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"The first payment was completed [\d.]+ s after the command was given", said)
    assert re.search(r"worker-payments-1 \(pid \d+\) was killed with -9 while it held \d+ payments", said)
    assert "The supervisor started worker-payments-1 again" in said
    assert re.search(r"All \d+ were taken up again", said)
    assert re.search(r"(\d+) sales at the tills, \1 payments in the database, each of them final", said)
    assert "Both judges agree: nothing was lost, nothing was charged twice, and every payment is final." in said
    assert done.stderr == ""
    assert not [
        process for process in psutil.process_iter(["cmdline"]) if str(home) in " ".join(process.info["cmdline"] or [])
    ]
