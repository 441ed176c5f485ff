"""Accept payments concurrently, hold a payment in a worker, and count rows."""

import asyncio
from typing import Any

from tests.factories import QR, PaymentMaker, Tenant
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, all_of
from workflows.payments.accept import PaymentIntake
from workflows.payments.check_request import PaymentSubmission


async def submit_concurrently(accepting: PaymentIntake, *submissions: PaymentSubmission) -> list[Any]:
    """Submit requests concurrently and return their outcomes.

    The first request runs alone; the others form one group.
    """
    return await asyncio.gather(*map(accepting.accept_payment, submissions), return_exceptions=True)


async def count(admin: Admin, tenant: Tenant, table: str = "payments") -> int:
    """Return the number of the tenant's rows in ``table``."""
    (row,) = await all_of(
        admin, f"SELECT count(*) AS n FROM {table} WHERE merchant_id = %s".encode(), tenant.merchant_id
    )
    return int(row["n"])


async def charge_in_progress(
    payments: PaymentMaker, provider: FakeProvider, **changes: object
) -> tuple[str, asyncio.Task[None]]:
    """Create a payment whose charge the provider holds; return its id and the task that processes it."""
    payment_id = await payments.pending(QR, **changes)
    provider.hold()
    provider.heard.clear()
    working = asyncio.ensure_future(payments.process(payment_id))
    await provider.heard.wait()
    return payment_id, working
