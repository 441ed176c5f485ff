"""The objects that every route needs, in one context.

The context is passed as an argument rather than stored in globals, so that each test can build a separate one.
"""

from dataclasses import dataclass, field
from random import Random

from sandbox.clock import Clock
from sandbox.fault_rates import FaultRates
from sandbox.fault_responses import HangingRequests
from sandbox.settings import Settings
from sandbox.sqlite_storage import SqliteStorage
from sandbox.webhooks import Webhooks


@dataclass(slots=True)
class Latency:
    """The latency of /v1 calls: a random time between two bounds for each call."""

    min_ms: int
    max_ms: int
    _random: Random = field(default_factory=Random)

    def draw_seconds(self) -> float:
        """Return the latency of the next call."""
        if self.min_ms == self.max_ms:
            return self.min_ms / 1_000
        return self._random.uniform(self.min_ms, self.max_ms) / 1_000


@dataclass(frozen=True, slots=True)
class SandboxContext:
    """The long-lived objects of one sandbox."""

    settings: Settings
    storage: SqliteStorage
    clock: Clock
    fault_rates: FaultRates
    latency: Latency
    hanging_requests: HangingRequests
    webhooks: Webhooks
