"""Requests that arrive at once, and what they leave behind."""

import asyncio
from typing import Any

from tests.factories import Tenant
from tests.integration.payments.evidence import Admin, all_of
from workflows.payments.accept import Accepting
from workflows.payments.judge import Acceptance


async def together(accepting: Accepting, *acceptances: Acceptance) -> list[Any]:
    """The outcomes of requests that arrive at once. The first goes alone; the others form one group."""
    return await asyncio.gather(*map(accepting.accept_payment, acceptances), return_exceptions=True)


async def count(admin: Admin, tenant: Tenant, table: str = "payments") -> int:
    """How many rows the tenant has in ``table``."""
    (row,) = await all_of(
        admin, f"SELECT count(*) AS n FROM {table} WHERE merchant_id = %s".encode(), tenant.merchant_id
    )
    return int(row["n"])
