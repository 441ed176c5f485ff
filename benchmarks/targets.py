"""The product as a target of a benchmark: how it is started and stopped, and which processes belong to it.

The other targets are in ``benchmarks.rivals``. All share one PostgreSQL, one Valkey and one sandbox provider. Only one of them
runs at a time.
"""

from collections.abc import Mapping
from typing import Protocol

from benchmarks.seed import Device as SeededDevice
from benchmarks.seed import create_devices, request_tokens
from mpac.stack.local_stack import LocalStack

SHARED = ("postgres", "valkey", "sandbox")
PRODUCT = ("api", "worker-payments-1", "worker-other", "beat", "flower")
DEVICES = 64


class Target(Protocol):
    """A system that is measured."""

    name: str

    @property
    def pids(self) -> Mapping[str, int]:
        """The pids of its processes and of the servers that it uses, by name."""
        ...

    @property
    def address(self) -> str:
        """The address of its API, ``http://host:port``."""
        ...

    @property
    def database_url(self) -> str:
        """The URL of the database with the target's payments."""
        ...

    async def start(self) -> None:
        """Start the target's processes, and wait until they serve."""
        ...

    async def stop(self) -> None:
        """Stop all processes of the target."""
        ...

    async def tokens(self) -> list[str]:
        """Return one fresh bearer token per device."""
        ...


class Product:
    """MPAC SmartPOS Payments, started as by ``python3 run.py up``."""

    name = "product"

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._devices: list[SeededDevice] = []

    @property
    def pids(self) -> Mapping[str, int]:
        return {name: self._stack.pids[name] for name in (*SHARED, *PRODUCT)}

    @property
    def address(self) -> str:
        return self._stack.urls.api

    @property
    def database_url(self) -> str:
        return self._stack.urls.database

    async def start(self) -> None:
        for name in PRODUCT:
            if name not in self._stack.pids:
                await self._stack.start(name)

    async def stop(self) -> None:
        for name in reversed(PRODUCT):
            await self._stack.stop(name)

    async def tokens(self) -> list[str]:
        if not self._devices:
            self._devices = await create_devices(self._stack, DEVICES)
        return await request_tokens(self.address, self._devices)
