"""A shop with settlements: it sells and refunds through use-cases, and back-dates timestamps to simulate past days."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import uuid_utils
from psycopg.rows import DictRow

from tests.factories import CASH, QR, PaymentMaker, Tenant, submit_refund
from workflows.ids import new_id
from workflows.processing.executor import LeaseExecutor
from workflows.providers.base import ChargeRefund, Succeeded
from workflows.settlements.close import close_manually, close_settlements
from workflows.settlements.open_periods import open_due_periods
from workflows.tenants.caller import Caller, CallerRole

Row = dict[str, Any]
WORKER = "worker-of-the-test"


def manager_of(tenant: Tenant) -> Caller:
    """Return the store's manager as an API caller."""
    return Caller("usr_manager", CallerRole.STORE_MANAGER, "", tenant.merchant_id, tenant.store_id)


@dataclass
class SettlementShop:
    """A store that sells, refunds and closes its settlements."""

    tenant: Tenant
    admin: psycopg.AsyncConnection[DictRow]
    payments: PaymentMaker
    refunds: LeaseExecutor[ChargeRefund]
    provider: Any

    @property
    def manager(self) -> Caller:
        """Return the store's manager, who closes settlements and counts cash."""
        return manager_of(self.tenant)

    async def since(self, **store: Any) -> None:
        """Set columns of the store, for example ``created_at``, and open its first period."""
        for name, value in store.items():
            await self.admin.execute(
                f"UPDATE stores SET {name} = %s WHERE id = %s",
                [value, self.tenant.store_id],
            )
        await open_due_periods(worker=WORKER)

    async def sell(self, amount: int = 1_000, *, fee: int = 0, at: datetime | None = None, **changes: Any) -> str:
        """Create and complete a QR payment (cash if ``cash=True``), and return its id.

        ``at`` sets the time of completion.
        """
        request = CASH if changes.pop("cash", False) else QR
        if request is QR:
            tip = changes.get("tip_amount", 0)
            self.provider.charges.append(Succeeded(amount + tip, f"ref-{uuid_utils.uuid7().hex}", fee=fee))
        payment_id = await self.payments.pending(request, amount=amount, **changes)
        await self.payments.process(payment_id)
        if at:
            await self.move(payment_id, at)
        return payment_id

    async def move(self, entity_id: str, at: datetime, *, began: datetime | None = None) -> None:
        """Move the completion of a payment or refund to ``at``, and its start to ``began`` (default: ``at``)."""
        table = "payments" if entity_id.startswith("pay_") else "refunds"
        await self.admin.execute(
            f"UPDATE {table} SET completed_at = %s, processing_at = %s WHERE id = %s",
            [at, began or at, entity_id],
        )

    async def request_refund(self, payment_id: str, amount: int | None = None, **rest: Any) -> str:
        """Request a refund, and return its id."""
        stored = await submit_refund(payment_id, amount, caller=self.tenant.device, grace_seconds=5, **rest)
        assert stored.resource_id
        return stored.resource_id

    async def make_refund(
        self, payment_id: str, amount: int | None = None, *, at: datetime | None = None, **rest: Any
    ) -> str:
        """Request and complete a refund, and return its id."""
        refund_id = await self.request_refund(payment_id, amount, **rest)
        await self.refunds.process([refund_id])
        if at:
            await self.move(refund_id, at)
        return refund_id

    async def periods(self, currency: str = "JPY") -> list[Row]:
        """Return the store's settlements in order."""
        found = await self.admin.execute(
            "SELECT * FROM settlements WHERE store_id = %s AND currency = %s ORDER BY start_at",
            [self.tenant.store_id, currency],
        )
        return await found.fetchall()

    async def running(self, currency: str = "JPY") -> Row:
        """Return the open settlement's row."""
        (found,) = [row for row in await self.periods(currency) if row["status"] == "open"]
        return found

    async def lines(self, settlement_id: str) -> dict[str, Row]:
        """Return the lines of a settlement by entity id."""
        found = await self.admin.execute("SELECT * FROM settlement_lines WHERE settlement_id = %s", [settlement_id])
        return {row["entity_id"]: row for row in await found.fetchall()}

    async def close(self, *settlement_ids: str) -> list[str]:
        """Close settlements as a worker does, and return the ids of the next periods that are due."""
        return (await close_settlements(list(settlement_ids), worker=WORKER)).following

    async def close_now(self) -> Row:
        """Close the running settlement as a manager, and return its row."""
        settlement_id = (await self.running())["id"]
        await close_manually(settlement_id, caller=self.manager, request_id=new_id("request"))
        return await self.settlement(settlement_id)

    async def settlement(self, settlement_id: str) -> Row:
        """Return a settlement's row."""
        found = await self.admin.execute("SELECT * FROM settlements WHERE id = %s", [settlement_id])
        row = await found.fetchone()
        assert row is not None
        return row
