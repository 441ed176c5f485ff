"""Run the product's own auditors on the database of a benchmark: figures of wrong work mean nothing."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from benchmarks.goals import Figures
from mpac.cli.errors import UserError
from mpac.cli.exit_codes import HOLDS, UNSURE
from mpac.stack.local_stack import LocalStack
from mpac.stack.state_folder import ROOT

RESOLVED_WITHIN_SECONDS = 90.0
"""How long an outcome may stay unknown after the load: on a busy machine a call can time out, and the next inquiry, within a
minute, resolves it."""
PAUSE_SECONDS = 2.0
NOTHING: Mapping[str, str] = MappingProxyType({})


async def audit(stack: LocalStack, *, env: Mapping[str, str] = NOTHING) -> Figures:
    """Check every rule about money with ``mpac invariants``, and return what was checked.

    ``env``: variables that override those of the stack.

    Raises ``UserError`` if a rule is broken, could not be checked, or an outcome stays unknown.
    """
    until = time.monotonic() + RESOLVED_WITHIN_SECONDS
    while True:
        code, report = await _check(stack, env)
        if code == HOLDS:
            rules = report["rules"]
            return {"rules": len(rules), "checks": sum(rule["checked"] for rule in rules)}
        if code != UNSURE or time.monotonic() > until:
            raise UserError(f"The auditors found something, so the figures mean nothing: {_what_is_wrong(report)}")
        await asyncio.sleep(PAUSE_SECONDS)


async def _check(stack: LocalStack, env: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mpac", "invariants", "--json", "--home", str(stack.home.path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **env},
    )
    said, complaint = await process.communicate()
    try:
        report: dict[str, Any] = json.loads(said)
    except ValueError:
        raise UserError(f"`mpac invariants` failed: {complaint.decode().strip()[-500:]}") from None
    return int(process.returncode or 0), report


def _what_is_wrong(report: dict[str, Any]) -> str:
    broken = [rule for rule in report["rules"] if rule["state"] == "broken"]
    found = [f"{rule['invariant']} broken {rule['count']} times ({rule['sentence']})" for rule in broken]
    return "; ".join([*found, *report["unchecked"]]) or f"unresolved: {json.dumps(report['waiting'])}"
