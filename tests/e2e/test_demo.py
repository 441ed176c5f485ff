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
    assert "come to 6,193 yen, 563 of it tax. Three bills, please: 2,065 + 2,064 + 2,064." in said
    assert "2,065 in cash (out of 3,000, 935 back), 2,064 by a QR code" in said
    assert "2,064 by card: the order is paid." in said
    assert "748 yen to the card (completed); 1,316 of 2,064 are kept." in said
    assert "Both judges agree: nothing was lost, nothing was charged twice, and every payment is final." in said
    assert done.stderr == ""
    assert not [
        process for process in psutil.process_iter(["cmdline"]) if str(home) in " ".join(process.info["cmdline"] or [])
    ]
