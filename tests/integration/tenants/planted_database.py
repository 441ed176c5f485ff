"""A database with rows of three tenants in every table, for tests of what each caller may read and change."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from tests.factories import Tenant
from tests.harness import Api
from tests.integration.tenants.planted_rows import plant
from tests.integration.tenants.routes import DEVICE

Admin = psycopg.AsyncConnection[dict[str, Any]]
OWN = Tenant("psp-a", "merchant-a", "store-a", "device-a")
STORE_ROLES = (DEVICE, "staff", "store_manager")
FILTERS = ("both filters", "the application's filter alone")


def token(api: Api, role: str, tenant: Tenant = OWN) -> str:
    """Return a token of a caller of ``tenant`` with ``role``."""
    return api.signer.device(tenant) if role == DEVICE else api.signer.user(tenant, role=role)


@asynccontextmanager
async def planted_database(url: str) -> AsyncIterator[Admin]:
    """Insert rows of three tenants into every table of a database; yield a connection of its owner.

    Tenant a's device is active.
    """
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, row_factory=dict_row) as admin:
        await plant(admin)
        await admin.execute("UPDATE devices SET status = 'active'")
        await admin.execute("UPDATE store_providers SET provider = 'sandbox'")
        yield admin


async def use_filters(admin: Admin, filters: str) -> None:
    """Disable row-level security unless ``filters`` is ``"both filters"``."""
    if filters == FILTERS[0]:
        return
    tables = await admin.execute("SELECT relname FROM pg_class WHERE relrowsecurity")
    for row in await tables.fetchall():
        await admin.execute(SQL("ALTER TABLE {} DISABLE ROW LEVEL SECURITY").format(Identifier(row["relname"])))
