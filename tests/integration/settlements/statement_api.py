"""Close and reconcile days whose provider sends its statement through its API."""

from typing import Any

from tests.integration.settlements.back_office import WORKER, BackOffice
from tests.integration.settlements.settlement_helpers import SettlementShop
from workflows.clock import now
from workflows.providers.base import StatementLine
from workflows.providers.registry import Providers
from workflows.reconciliation.auto_reconcile import reconcile_due


def listed(reference: str, amount: int, **changes: Any) -> StatementLine:
    """Return the statement line of a provider that moved ``amount`` under ``reference`` just now."""
    kind = "payment" if amount > 0 else "refund"
    return StatementLine(kind, reference, f"ref-{reference}", amount, "JPY", 0, now().isoformat())._replace(**changes)


async def row_of(shop: SettlementShop, entity_id: str) -> dict[str, Any]:
    """Return the row of a payment or refund."""
    payment = await shop.admin.execute("SELECT * FROM payments WHERE id = %s", [entity_id])
    refund = await shop.admin.execute("SELECT * FROM refunds WHERE id = %s", [entity_id])
    found = await payment.fetchone() or await refund.fetchone()
    assert found is not None
    return found


async def outcome(shop: SettlementShop, entity_id: str) -> tuple[str, int]:
    """Return the status and the version of a payment or refund."""
    row = await row_of(shop, entity_id)
    return row["status"], row["version"]


async def reconcile_fetched_statement(back_office: BackOffice, lines: list[StatementLine]) -> str:
    """Close the day and reconcile it as workers do; return its id.

    The provider's API sends the settlement's lines and ``lines``.
    """
    settlement_id = str((await back_office.shop.close_now())["id"])
    own = [
        StatementLine(
            line["kind"],
            line["our_reference"],
            line["provider_reference"],
            line["amount"],
            line["currency"],
            line["fee"],
            line["occurred_at"].isoformat(),
        )
        for line in (await back_office.shop.lines(settlement_id)).values()
        if line["kind"] != "adjustment"
    ]
    back_office.shop.provider.statements = [[*own, *lines]]
    await reconcile_as_worker(back_office, settlement_id)
    return settlement_id


async def reconcile_as_worker(back_office: BackOffice, settlement_id: str) -> None:
    """Reconcile a settlement as a worker does when it is due."""
    providers = Providers({"sandbox": back_office.shop.provider})
    await reconcile_due(settlement_id, worker=WORKER.worker, settings=back_office.settings, providers=providers)
