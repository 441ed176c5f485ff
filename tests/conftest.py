"""Fixtures for every test. Nothing here starts before the first test that needs it; unit tests need none of it.

| fixture           | scope    | what it provides                                                                          |
|-------------------|----------|-------------------------------------------------------------------------------------------|
| ``stack``         | session  | PostgreSQL (schema at head) and Valkey for this test process; ``workers.app`` uses them    |
| ``settings``      | session  | the product's ``Settings`` for them; vary with ``settings.model_copy(update={...})``       |
| ``engines``       | session  | the product's engines for every role are connected: use-cases can be called                |
| ``admin``         | session  | an autocommit connection as the database's owner, to read and insert any row                |
| ``own_database``  | function | the URL of a new database, cloned from the migrated template and dropped after the test    |
| ``tenant``        | function | a new PSP, merchant, store (sandbox provider enabled) and active device                     |
| ``make_tenant``   | function | further tenants: ``await make_tenant()``                                                    |
| ``signer``        | session  | tokens: ``signer.user(tenant, role="staff")``, ``signer.device(tenant)``                    |
| ``api``           | session  | the API in this process under a real uvicorn, and a client: ``await api.post("/payments")`` |
| ``serve``         | function | the same with other settings: ``async with serve(max_body_bytes=2_048) as other_api``       |
| ``provider``      | function | a fake provider that gives scripted answers (``tests.fakes.FakeProvider``)                  |
| ``payments``      | function | takes payments of ``tenant`` to any status by events (``tests.factories.PaymentMaker``)     |

**One pair of servers per test process** (each xdist worker has its own) rather than one shared: it costs a second each
and needs no lock and no reference count, and tests may change server-wide state (roles, ``FLUSHALL``, killed connections).

**Rows are never deleted between tests; each test makes its own tenant.** Use-cases commit on their own connections
(group commits, ``SKIP LOCKED``, ``NOTIFY``), so there is no savepoint to roll back to, and emptying the tables would
remove rows that background tasks still use. Tests of code that reads all tenants (sweeps, housekeeping) look only at their
own ids, or use ``own_database``.
"""

import asyncio
import gc
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
from tests import random_order, stack_groups
from tests.factories import PaymentMaker, Signer, Tenant, new_tenant
from tests.fakes import FakeProvider
from tests.harness import Api, clone_of_template, migrate, running_api, template_from, variables
from workflows.database import engines as database
from workflows.database.engines import connect, disconnect
from workflows.gc_tuning import tune_gc
from workflows.providers.registry import Providers
from workflows.settings import Settings, load_settings

# No database of examples is written, and a slow moment on a busy machine is not a failure.
SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("house", database=None, deadline=None, suppress_health_check=SLOW)
hypothesis.settings.load_profile("house")

WAIT_SECONDS = 60
GENEROUS_TIMEOUTS = {"statement_timeout_ms": WAIT_SECONDS * 1_000, "lock_timeout_ms": WAIT_SECONDS * 1_000}
"""On a busy machine a burst of requests may take ten seconds; an installation answers 503 after three."""

NO_CANARIES_SECONDS = 1e6
"""Canary interval of the API under test: practically never, because tests count the messages in the queues."""

MakeTenant = Callable[[], Awaitable[Tenant]]
Serve = Callable[..., AbstractAsyncContextManager[Api]]


def pytest_configure(config: pytest.Config) -> None:
    """Remove ``MPAC_*`` variables and restore SIGINT, because processes that tests start inherit both.

    The developer's ``MPAC_*`` variables point at stacks that tests must not touch. A shell that runs the suite in the
    background ignores Ctrl-C, and child processes inherit that. Garbage is not collected until all tests are imported: there
    is none, and looking for it takes a sixth of that time.
    """
    gc.disable()
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(stack_groups)
    for name in [name for name in os.environ if name.startswith("MPAC_")]:
        del os.environ[name]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the command-line options of this suite."""
    random_order.add_option(parser)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle the tests if ``--shuffle`` was given."""
    if (seed := config.getoption("--shuffle")) is not None:
        random_order.shuffle(items, seed=seed)


def pytest_collection_finish() -> None:
    """Collect garbage again, and leave out what was imported, as the product's processes do."""
    tune_gc()
    gc.enable()


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """Yield a state folder that is deleted after the session.

    The folder's path is short because socket paths are limited.
    """
    folder = Path(tempfile.mkdtemp(prefix="mpac-tests-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def stack(home: Path) -> AsyncIterator[LocalStack]:
    """Yield running servers for this test process, with the schema at ``alembic upgrade head``."""
    async with local_servers(home / "stack", durable=False) as servers:
        await migrate(servers.urls.database)
        await template_from(servers.urls.database)
        with variables(servers.environment):
            importlib.import_module("workers.app")  # it must read these settings, and reads them when it is imported
        yield servers


@pytest.fixture(scope="session")
def settings(stack: LocalStack) -> Settings:
    """Return the settings that a process of this stack would read, with timeouts for a busy machine.

    Tests of timeouts pass shorter ones to ``serve``.
    """
    with variables(stack.environment):
        return load_settings().model_copy(update={**GENEROUS_TIMEOUTS, "silence_seconds": NO_CANARIES_SECONDS})


@pytest.fixture(scope="session")
async def engines(settings: Settings) -> AsyncIterator[None]:
    """Connect the product's engines for every role, and disconnect them afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "POOL_TIMEOUT_SECONDS", WAIT_SECONDS)
        connect(settings)
        yield
        await disconnect()


@pytest.fixture(scope="session")
async def admin(stack: LocalStack) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
    """Yield an autocommit connection as the database's owner, who bypasses row-level security."""
    async with await psycopg.AsyncConnection.connect(
        stack.urls.database, autocommit=True, row_factory=dict_row
    ) as connection:
        yield connection


@pytest.fixture
async def own_database(stack: LocalStack) -> AsyncIterator[str]:
    """Yield the URL of a new migrated database, which is dropped after the test."""
    async with clone_of_template(stack.urls.database) as url:
        yield url


@pytest.fixture
def make_tenant(admin: psycopg.AsyncConnection[DictRow], engines: None) -> MakeTenant:
    """Return a function that creates a tenant."""

    async def make() -> Tenant:
        return await new_tenant(admin)

    return make


@pytest.fixture
async def tenant(make_tenant: MakeTenant) -> Tenant:
    """Create a tenant that no other test uses."""
    return await make_tenant()


@pytest.fixture(scope="session")
def signer(stack: LocalStack) -> Signer:
    """Return a signer of tokens like those that the login system and the device endpoint issue."""
    return Signer(stack.home.secrets)


@pytest.fixture(scope="session")
async def api(settings: Settings, engines: None, signer: Signer) -> AsyncIterator[Api]:
    """Run the API with the settings of this stack, and yield a client for it."""
    async with running_api(settings, signer) as running:
        yield running


@pytest.fixture
def serve(settings: Settings, engines: None, signer: Signer) -> Serve:
    """Return a function that runs the API with some settings changed, and yields a client for it."""

    def make(**changes: Any) -> AbstractAsyncContextManager[Api]:
        return running_api(settings.model_copy(update=changes), signer, usual=settings)

    return make


@pytest.fixture
def provider() -> FakeProvider:
    """Return a fake provider that approves every charge, unless a test scripts another answer."""
    return FakeProvider()


@pytest.fixture
async def payments(
    settings: Settings, engines: None, tenant: Tenant, provider: FakeProvider
) -> AsyncIterator[PaymentMaker]:
    """Yield a maker of payments for ``tenant``, which processes them with ``provider``."""
    maker = PaymentMaker(settings, Providers({provider.name: provider}), tenant)
    yield maker
    provider.release()
    await asyncio.wait_for(maker.processor.drain(5), timeout=10)
