"""Fixtures for every test. Nothing here starts before the first test that needs it; unit tests need none of it.

| fixture           | scope    | what                                                                                      |
|-------------------|----------|-------------------------------------------------------------------------------------------|
| ``stack``         | session  | PostgreSQL and Valkey of this test process alone, schema at head; ``workers.app`` uses them |
| ``settings``      | session  | the product's ``Settings`` for them; vary with ``settings.model_copy(update={...})``       |
| ``engines``       | session  | the product's engines for every role are connected: use-cases can be called                |
| ``admin``         | session  | an autocommit connection of the database's owner, to read and to plant rows                 |
| ``own_database``  | function | the URL of a database of this test's own, cloned from the migrated template, dropped after  |
| ``tenant``        | function | a PSP, merchant, store (sandbox provider enabled) and active device of this test alone      |
| ``make_tenant``   | function | more of them: ``await make_tenant()``                                                       |
| ``signer``        | session  | tokens: ``signer.user(tenant, role="staff")``, ``signer.device(tenant)``                    |
| ``api``           | session  | the API in this process under a real uvicorn, and a client: ``await api.post("/payments")`` |
| ``serve``         | function | the same with other settings: ``async with serve(max_body_bytes=2_048) as other_api``       |
| ``provider``      | function | a fake provider that answers what the test tells it (``tests.fakes.FakeProvider``)          |
| ``payments``      | function | takes payments of ``tenant`` to any status by events (``tests.factories.PaymentMaker``)     |

**One pair of servers per test process** (each xdist worker has its own) rather than one shared: it costs a second each
and needs no lock, no reference count and no care with what belongs to the whole server (roles, ``FLUSHALL``, killed
connections).

**Rows are never deleted between tests; each test makes a tenant of its own.** Use-cases commit on connections of their
own (group commits, ``SKIP LOCKED``, ``NOTIFY``), so there is no savepoint to roll back to, and emptying the tables would
remove rows that background tasks still use. Tests of what reads all tenants (sweeps, housekeeping) look at their own ids only,
or use ``own_database``.
"""

import asyncio
import importlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from mpac.stack.local_stack import LocalStack, local_servers
from tests import random_order
from tests.factories import PaymentMaker, Signer, Tenant, new_tenant
from tests.fakes import FakeProvider
from tests.harness import Api, clone_of_template, migrate, running_api, template_from, variables
from workflows.database import engines as database
from workflows.database.engines import connect, disconnect
from workflows.providers.registry import Providers
from workflows.settings import Settings, load_settings

# No folder of examples is left behind, and a slow moment on a busy machine is not a failure.
SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("house", database=None, deadline=None, suppress_health_check=SLOW)
hypothesis.settings.load_profile("house")

WAIT_SECONDS = 60
PATIENT = {"statement_timeout_ms": WAIT_SECONDS * 1_000, "lock_timeout_ms": WAIT_SECONDS * 1_000}
"""A busy machine may need ten seconds for a burst of requests, for which an installation answers 503 after three."""

NOBODY_LISTENS_SECONDS = 1e6
"""The API of the tests sends no canaries into queues that tests count."""

MakeTenant = Callable[[], Awaitable[Tenant]]
Serve = Callable[..., AbstractAsyncContextManager[Api]]


def pytest_configure() -> None:
    """Remove what the caller's environment would pass on to the processes that tests start.

    The developer's own ``MPAC_*`` variables point at stacks that tests must not touch. A shell that runs the suite in
    the background ignores Ctrl-C, which children inherit.
    """
    for name in [name for name in os.environ if name.startswith("MPAC_")]:
        del os.environ[name]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of this suite."""
    random_order.add_option(parser)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the tests into the requested order."""
    if (seed := config.getoption("--shuffle")) is not None:
        random_order.shuffle(items, seed=seed)


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """Yield a state folder that is deleted after the session. Its name is short, because names of sockets must be."""
    folder = Path(tempfile.mkdtemp(prefix="mpac-tests-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def stack(home: Path) -> AsyncIterator[LocalStack]:
    """Yield the servers of this test process, with the schema that ``alembic upgrade head`` makes."""
    async with local_servers(home / "stack", durable=False) as servers:
        await migrate(servers.urls.database)
        await template_from(servers.urls.database)
        with variables(servers.environment):
            importlib.import_module("workers.app")  # it reads its settings while it is imported: these
        yield servers


@pytest.fixture(scope="session")
def settings(stack: LocalStack) -> Settings:
    """Return the settings that a process of this stack would read, with timeouts for a busy machine.

    Tests of what a process does when its database makes it wait ask ``serve`` for short timeouts.
    """
    with variables(stack.environment):
        return load_settings().model_copy(update={**PATIENT, "silence_seconds": NOBODY_LISTENS_SECONDS})


@pytest.fixture(scope="session")
async def engines(settings: Settings) -> AsyncIterator[None]:
    """Yield connections for every role."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "POOL_TIMEOUT_SECONDS", WAIT_SECONDS)
        connect(settings)
        yield
        await disconnect()


@pytest.fixture(scope="session")
async def admin(stack: LocalStack) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
    """Yield a connection of the database's owner, to whom row-level security does not apply."""
    async with await psycopg.AsyncConnection.connect(
        stack.urls.database, autocommit=True, row_factory=dict_row
    ) as connection:
        yield connection


@pytest.fixture
async def own_database(stack: LocalStack) -> AsyncIterator[str]:
    """Yield the URL of a database of this test alone."""
    async with clone_of_template(stack.urls.database) as url:
        yield url


@pytest.fixture
def make_tenant(admin: psycopg.AsyncConnection[DictRow], engines: None) -> MakeTenant:
    """Make tenants that no other test uses."""

    async def make() -> Tenant:
        return await new_tenant(admin)

    return make


@pytest.fixture
async def tenant(make_tenant: MakeTenant) -> Tenant:
    """Return a tenant of this test's own."""
    return await make_tenant()


@pytest.fixture(scope="session")
def signer(stack: LocalStack) -> Signer:
    """Return a signer of tokens, as the login system and the device endpoint make them."""
    return Signer(stack.home.secrets)


@pytest.fixture(scope="session")
async def api(settings: Settings, engines: None, signer: Signer) -> AsyncIterator[Api]:
    """Yield the API with the settings of this stack."""
    async with running_api(settings, signer) as running:
        yield running


@pytest.fixture
def serve(settings: Settings, engines: None, signer: Signer) -> Serve:
    """Return the API with some settings changed, for one test."""

    def make(**changes: Any) -> AbstractAsyncContextManager[Api]:
        return running_api(settings.model_copy(update=changes), signer, usual=settings)

    return make


@pytest.fixture
def provider() -> FakeProvider:
    """Return a provider that approves, unless a test scripts another answer."""
    return FakeProvider()


@pytest.fixture
async def payments(
    settings: Settings, engines: None, tenant: Tenant, provider: FakeProvider
) -> AsyncIterator[PaymentMaker]:
    """Yield a maker of payments of ``tenant`` that processes them with ``provider``."""
    maker = PaymentMaker(settings, Providers({provider.name: provider}), tenant)
    yield maker
    provider.release()
    await asyncio.wait_for(maker.processor.drain(5), timeout=10)
