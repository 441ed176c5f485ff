"""Which providers there are. A new one is a new file and a line here.

Local ones are functions of what the terminal reported and ask nobody; remote ones are objects with connections, made
once per process.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from workflows.providers import cash, external
from workflows.providers.base import Charge, Outcome, Provider
from workflows.providers.sandbox import SandboxProvider
from workflows.settings import Settings

LOCAL: Mapping[str, Callable[[Charge], Outcome]] = {cash.NAME: cash.settle, external.NAME: external.settle}
REMOTE_NAMES = ("sandbox",)
"""The names that a store's configuration may use."""


@dataclass(frozen=True)
class Providers:
    """The remote providers of one process, by name."""

    remote: dict[str, Provider] = field(default_factory=dict)

    async def close(self) -> None:
        """Give back the connections of all."""
        for provider in self.remote.values():
            await provider.close()


def open_providers(settings: Settings) -> Providers:
    """The remote providers that ``settings`` give an address for."""
    remote: dict[str, Provider] = {}
    if settings.sandbox_url:
        remote["sandbox"] = SandboxProvider(settings)
    return Providers(remote)
