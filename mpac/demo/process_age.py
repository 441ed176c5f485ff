"""Measure how long ago the command was typed.

``run.py`` installs what is missing and then becomes ``mpac`` in the same process. So the start time of the process, which the
kernel knows to a hundredth of a second, is the time of the command.
"""

import os
import time
from pathlib import Path

_IMPORTED = time.monotonic()
LONGEST_SECONDS = 3_600  # a larger value means that the two clocks belong to different machines


def seconds_since_command() -> float:
    """Return the seconds since the command was typed.

    Without /proc, they are counted from the import of this module.
    """
    try:
        born = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
        age = float(Path("/proc/uptime").read_text().split()[0]) - born
    except (OSError, IndexError, ValueError):
        age = -1.0
    return age if 0 <= age < LONGEST_SECONDS else time.monotonic() - _IMPORTED
