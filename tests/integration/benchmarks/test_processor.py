"""No CPU time is lost when a server's child processes exit between or during two readings."""

import subprocess
import sys

import psutil
import pytest

from benchmarks import cpu_time

BURNT_SECONDS = 0.3
ROUNDED_SECONDS = 0.05
"""Tolerance: the kernel rounds times of a process down to hundredths. The former bug lost all of a child's CPU time."""

PARENT = f"""
import subprocess, sys
burn = "import time\\nwhile time.process_time() < {BURNT_SECONDS}: pass\\nprint('burnt', flush=True)\\ninput()"
child = subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("burnt", flush=True)
input()
child.communicate(b"\\n")
print("reaped", flush=True)
input()
"""


def test_cpu_time_of_a_child_that_exits_during_the_reading_is_counted_for_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [sys.executable, "-c", PARENT]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as parent:
        assert parent.stdin
        assert parent.stdout
        assert parent.stdout.readline() == "burnt\n"
        server, own = psutil.Process(parent.pid), cpu_time._cpu_seconds
        before = cpu_time._with_children(server)

        def end_before_it_is_read(process: psutil.Process) -> float:
            monkeypatch.undo()
            assert parent.stdin
            assert parent.stdout
            parent.stdin.write("\n")
            assert parent.stdout.readline() == "reaped\n"
            return own(process)

        monkeypatch.setattr(cpu_time, "_cpu_seconds", end_before_it_is_read)
        after = cpu_time._with_children(server)
        assert before > BURNT_SECONDS - ROUNDED_SECONDS
        assert after > before - ROUNDED_SECONDS
        parent.stdin.write("\n")
