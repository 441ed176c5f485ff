"""The merchant's administrator, who handles one shop's settlements; payments with unknown outcomes; and the check of I15."""

from dataclasses import replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from tests.factories import time_passes
from tests.harness import Answer, Api
from tests.integration.settlements.settlement_helpers import SettlementShop
from tests.reconciliation_helpers import upload
from tests.reference_matcher import Theirs
from workflows.database.engines import address
from workflows.invariants.rules import RULES
from workflows.providers.base import Unknown
from workflows.reconciliation.auto_reconcile import find_due_reconciliations
from workflows.reconciliation.reconcile import reconcile_settlement
from workflows.settings import Settings
from workflows.tenants.actor import Actor

WORKER = Actor(worker="worker-of-the-test")
(NET,) = (rule for rule in RULES if rule.invariant == "I15")
BOOKED = [{"resolution": "adjust"}, {"resolution": "write_off", "note": "small enough"}]


def statement_line_of(line: dict[str, Any], **changes: Any) -> Theirs:
    """Return the provider's statement line that agrees with a settlement line."""
    facts = (line["kind"], line["our_reference"], line["provider_reference"], line["amount"], line["fee"])
    return replace(Theirs(*facts), **changes)


class BackOffice:
    """The merchant's administrator, who closes, reconciles and resolves breaks for one shop."""

    def __init__(self, shop: SettlementShop, api: Api, settings: Settings) -> None:
        self.shop, self.api, self.settings = shop, api, settings

    async def close(self, *, upload_lines: bool = True, more: list[Theirs] | None = None) -> str:
        """Close the running settlement, upload a statement for it, and return the settlement's id.

        The statement has the settlement's own lines and ``more``.
        """
        settlement_id: str = (await self.shop.close_now())["id"]
        lines = [one for one in (await self.shop.lines(settlement_id)).values() if one["provider"] == "sandbox"]
        own = [statement_line_of(line) for line in lines if line["kind"] != "adjustment"] if upload_lines else []
        await upload(self.shop.tenant, settlement_id, [*own, *(more or [])])
        return settlement_id

    async def run(self, settlement_id: str) -> dict[str, Any]:
        """Reconcile the settlement, and return the result."""
        return await reconcile_settlement(settlement_id, actor=WORKER, settings=self.settings)

    async def breaks(self, settlement_id: str) -> list[dict[str, Any]]:
        """Return the open breaks of the last run."""
        boss = self.api.signer.user(self.shop.tenant, role="merchant_admin")
        answer = await self.api.get(f"/settlements/{settlement_id}/breaks?open=true", as_=boss)
        found: list[dict[str, Any]] = answer.body["data"]
        return found

    async def resolve(self, break_id: str, **body: Any) -> Answer:
        """Resolve a break, and return the answer."""
        boss = self.api.signer.user(self.shop.tenant, role="merchant_admin")
        return await self.api.post(f"/breaks/{break_id}/resolve", body, as_=boss)

    async def status(self, settlement_id: str) -> str:
        """Return the settlement's status."""
        return str((await self.shop.settlement(settlement_id))["status"])

    async def provider_total(self, currency: str = "JPY") -> int:
        """Return the provider's total in all settlements of the shop, including corrections, minus fees."""
        found = await self.shop.admin.execute(
            """SELECT coalesce(sum(amount - fee), 0)::bigint AS held FROM settlement_lines
               WHERE store_id = %s AND currency = %s AND provider <> 'cash'""",
            [self.shop.tenant.store_id, currency],
        )
        row = await found.fetchone()
        assert row is not None
        return int(row["held"])

    async def net_violations(self) -> list[str]:
        """Return what invariant I15 finds at this shop."""
        engine = create_async_engine(make_url(address()).set(drivername="postgresql+psycopg"))
        try:
            async with engine.connect() as connection:
                found = await connection.execute(text(NET.violations))
                return [row.problem for row in found if row.id.startswith(self.shop.tenant.store_id)]
        finally:
            await engine.dispose()

    async def due(self, settlement_id: str) -> str | None:
        """Return the reason why the settlement is due for an automatic run, or ``None``."""
        found = await find_due_reconciliations(limit=10_000, settings=self.settings)
        return next((one.why for one in found if one.id == settlement_id), None)


async def payment_in_doubt(shop: SettlementShop, amount: int) -> str:
    """Create a payment in doubt that the provider has charged, and return its id."""
    shop.provider.charges.append(Unknown("the answer was lost"))
    payment_id = await shop.payments.pending(amount=amount)
    await shop.payments.process(payment_id)
    shop.provider.moved[f"{payment_id}:1"] = amount
    return payment_id


async def refund_in_doubt(shop: SettlementShop, amount: int) -> tuple[str, str]:
    """Create a refund in doubt that the provider has made; return the ids of its sale and of the refund."""
    payment_id = await shop.sell(5_000)
    shop.provider.refunds.append(Unknown("the answer was lost"))
    refund_id = await shop.request_refund(payment_id, amount)
    await shop.refunds.process([refund_id])
    shop.provider.moved[f"{refund_id}:1"] = amount
    return payment_id, refund_id


async def end_doubt(shop: SettlementShop, entity_id: str) -> None:
    """Let the provider answer the next inquiry, so that the outcome is known."""
    entity = "payment" if entity_id.startswith("pay_") else "refund"
    await time_passes(shop.admin, entity_id, seconds=3_600, entity=entity)
    if entity == "payment":
        await shop.payments.process(entity_id)
    else:
        await shop.refunds.process([entity_id])
