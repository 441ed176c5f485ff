"""Settings of the sandbox, from the command line and the environment.

The command line gives the address and the folder of the ledger; the environment gives keys and latencies. Everything but the
folder has a default, so that ``python -m sandbox --store DIR`` works on a developer's machine.
"""

import argparse
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

DEFAULT_PORT = 9100
CONTROL_KEY_FILE = "control-key"
DEFAULT_LATENCY_MS = "50"  # as of a nearby acquirer; the product's limits of calls in flight are sized for it


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that are fixed at the start. The control routes change others at run time."""

    host: str
    port: int
    store: Path
    api_key: str
    control_key: str
    webhook_secret: str
    webhook_url: str
    min_latency_ms: int
    max_latency_ms: int


def read_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Parse the command line and the environment. Raises SystemExit, as argparse does, for invalid values."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="The sandbox payment provider.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes any free port and logs which")
    parser.add_argument("--store", type=Path, required=True, help="the folder of its ledger; created if missing")
    given = parser.parse_args(arguments)
    try:
        minimum = int(environment.get("MPAC_SANDBOX_MIN_LATENCY_MS", DEFAULT_LATENCY_MS))
        maximum = int(environment.get("MPAC_SANDBOX_MAX_LATENCY_MS", max(minimum, int(DEFAULT_LATENCY_MS))))
    except ValueError as error:
        parser.error(f"a latency must be a whole number of milliseconds: {error}")
    if not 0 <= minimum <= maximum:
        parser.error("latencies must satisfy 0 <= MPAC_SANDBOX_MIN_LATENCY_MS <= MPAC_SANDBOX_MAX_LATENCY_MS")
    return Settings(
        host=given.host,
        port=given.port,
        store=given.store,
        api_key=environment.get("MPAC_SANDBOX_API_KEY", ""),
        control_key=environment.get("MPAC_SANDBOX_CONTROL_KEY", ""),
        webhook_secret=environment.get("MPAC_SANDBOX_WEBHOOK_SECRET", ""),
        webhook_url=environment.get("MPAC_SANDBOX_WEBHOOK_URL", ""),
        min_latency_ms=minimum,
        max_latency_ms=maximum,
    )


def with_control_key(settings: Settings) -> Settings:
    """Return the settings with a control key: the configured one, or the one in the folder of the ledger.

    The key in the folder is created at the first start (mode 0600).
    """
    if settings.control_key:
        return settings
    file = settings.store / CONTROL_KEY_FILE
    settings.store.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        descriptor, temporary = tempfile.mkstemp(dir=settings.store)  # mkstemp makes it 0600
        with os.fdopen(descriptor, "w") as opened:
            opened.write(secrets.token_urlsafe(24))
        Path(temporary).replace(file)
    return replace(settings, control_key=file.read_text())
