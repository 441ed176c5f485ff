"""The benchmarks of large settlements run at a small size, and report their figures."""

import asyncio
import sys

import pytest

from mpac.stack.state_folder import ROOT
from tests.polling import HANGS_AFTER_SECONDS


@pytest.mark.parametrize(
    ("module", "words", "told"),
    [
        (
            "benchmarks.settlement",
            ("--rows", "300", "--stores", "20", "--postings", "100"),
            ("close of 330 lines", "x COPY", "x aggregate", "longest wait of a refund", "20 stores due at once", "MB"),
        ),
        (
            "benchmarks.reconcile",
            ("--rows", "1500", "--missing", "300"),
            ("receive 1,500 lines", "x COPY", "reconcile 1,500 lines, 1,000 breaks", "x aggregate", "the same again"),
        ),
    ],
)
async def test_a_bench_of_large_settlements_runs(
    own_database: str, module: str, words: tuple[str, ...], told: tuple[str, ...]
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, "--database", own_database, *words),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await asyncio.wait_for(process.communicate(), HANGS_AFTER_SECONDS)
    assert process.returncode == 0, error.decode()
    assert [text for text in told if text not in out.decode()] == []
