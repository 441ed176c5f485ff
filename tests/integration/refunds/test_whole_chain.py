"""Follow a sale through order, bill, payments, refunds and settlement, in three currencies, exact to the minor unit.

The provider is the real sandbox over HTTP, so three books without shared code are compared: the settlement's lines, the
double-entry ledger, and the provider's ledger. The expected figures were computed by hand.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from tests.factories import CASH, QR, TERMINAL, Signer, Tenant
from tests.harness import Api
from tests.integration.bills.bill_helpers import bill_of, split
from tests.integration.orders.order_helpers import open_order
from tests.integration.payments.evidence import all_of
from tests.integration.refunds.refund_helpers import Admin, RefundMaker, sums
from tests.integration.sandbox.harness import KEY, Sandbox
from workflows.processing.executor import LeaseExecutor
from workflows.providers.registry import open_providers
from workflows.refunds.workload import PAYMENTS, REFUNDS
from workflows.settings import Settings
from workflows.settlements.open_periods import open_due_periods

WORKER = "worker-of-the-test"


@pytest.fixture
async def refunds(settings: Settings, engines: None, tenant: Tenant, sandbox: Sandbox) -> AsyncIterator[RefundMaker]:
    """Yield a maker of payments and refunds at the sandbox that applies all consequences as a worker does."""
    known = settings.model_copy(update={"sandbox_url": sandbox.url, "sandbox_api_key": SecretStr(KEY)})
    providers = open_providers(known)
    maker = RefundMaker(known, providers, tenant)
    maker.payments.processor = LeaseExecutor(PAYMENTS, settings=known, providers=providers, worker=WORKER)
    maker.processor = LeaseExecutor(REFUNDS, settings=known, providers=providers, worker=WORKER)
    yield maker
    await asyncio.wait_for(maker.processor.drain(5), 10)
    await providers.close()


@dataclass(frozen=True)
class Sale:
    """A sale with amounts in minor units. Tax and parts were computed by hand."""

    currency: str
    items: tuple[tuple[int, int, str], ...]  # quantity, unit price, tax rate
    discount: int
    tax: int
    total: int
    parts: tuple[int, int, int]
    tip: int


SALES = [
    # 1 × 100 without tax: the contract's own example
    Sale("JPY", ((1, 100, "0"),), 0, 0, 100, (34, 33, 33), 10),
    # 3 × 333 at 8 % and 1 × 501 at 10 %, 100 off: 66.6 and 33.4 → 67 and 33; tax on 932 is 74.56, on 468 is 46.8
    Sale("JPY", ((3, 333, "0.08"), (1, 501, "0.10")), 100, 75 + 47, 1_522, (508, 507, 507), 150),
    # $10.99 + 2 × $4.50 at 8.875 %: 177.41 cents
    Sale("USD", ((1, 1_099, "0.08875"), (2, 450, "0.08875")), 0, 177, 2_176, (726, 725, 725), 333),
    # 2.750 + 3 × 0.415 dinars at 5 %: 199.75 fils
    Sale("KWD", ((1, 2_750, "0.05"), (3, 415, "0.05")), 0, 200, 4_195, (1_399, 1_398, 1_398), 1),
]


async def ordered(api: Api, tenant: Tenant, sale: Sale) -> dict[str, Any]:
    items = [
        {"name": "A dish", "quantity": quantity, "unit_price": price, "tax_rate": rate}
        for quantity, price, rate in sale.items
    ]
    order = await open_order(api, tenant, items=items, currency=sale.currency, discount_amount=sale.discount)
    assert (order["tax_amount"], order["total_amount"]) == (sale.tax, sale.total)
    return order


async def paid_in_three_ways(api: Api, refunds: RefundMaker, order: dict[str, Any], sale: Sale) -> tuple[str, str, str]:
    """Split the bill into three parts, and pay each in another way.

    One part is paid in cash, one by QR with a tip, and one by card on the terminal.
    """
    bill = await bill_of(api, refunds.tenant, order["id"])
    shares = (await split(api, refunds.tenant, bill["id"], parts=3)).body["data"]
    assert tuple(share["total_amount"] for share in shares) == sale.parts
    cash, qr, card = [
        await refunds.paid(
            kind,
            amount=share["total_amount"],
            tip_amount=sale.tip if kind is QR else 0,
            currency=sale.currency,
            bill_id=share["id"],
            facts={**kind.facts, "cash_received": share["total_amount"]} if kind is CASH else kind.facts,
        )
        for share, kind in zip(shares, (CASH, QR, TERMINAL), strict=True)
    ]
    assert (await api.get(f"/orders/{order['id']}", as_=refunds.tenant)).body["status"] == "paid"
    return cash, qr, card


async def closed(api: Api, tenant: Tenant, manager: str, currency: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Close the running settlement in ``currency``.

    Return the settlement, and the amounts of its lines by entity.
    """
    await open_due_periods(worker=WORKER)
    page = (await api.get(f"/settlements?store_id={tenant.store_id}&status=open", as_=manager)).body["data"]
    (running,) = [row for row in page if row["currency"] == currency]
    settlement = (await api.post(f"/settlements/{running['id']}/close", as_=manager)).body
    lines = (await api.get(f"/settlements/{running['id']}/lines", as_=manager)).body["data"]
    return settlement, {line["entity_id"]: line["amount"] for line in lines}


@pytest.mark.parametrize("sale", SALES, ids=lambda sale: f"{sale.total} {sale.currency}")
async def test_payments_ledger_and_provider_agree_to_the_unit(
    api: Api, refunds: RefundMaker, sandbox: Sandbox, signer: Signer, admin: Admin, sale: Sale
) -> None:
    tenant = refunds.tenant
    cash, qr, card = await paid_in_three_ways(api, refunds, await ordered(api, tenant, sale), sale)
    first, second, third = sale.parts[0], sale.parts[1] + sale.tip, sale.parts[2]
    given = [await refunds.refunded(qr, 1), await refunds.refunded(qr), await refunds.refunded(cash, first - 1)]
    assert await sums(admin, qr) == ("refunded", second, second)
    assert await sums(admin, cash) == ("refunded", first - 1, first - 1)

    theirs = (await sandbox.call("GET", f"/control/ledger/{qr}")).body["data"]
    assert [(row["kind"], row["amount"], row["currency"]) for row in theirs] == [
        ("charge", second, sale.currency),
        ("refund", 1, sale.currency),
        ("refund", second - 1, sale.currency),
    ]

    gross, back, fees = first + second + third, second + first - 1, sum(row["fee"] for row in theirs)
    settlement, lines = await closed(api, tenant, signer.user(tenant, role="store_manager"), sale.currency)
    assert (settlement["status"], settlement["cash_expected"]) == ("closed", 1)
    assert settlement["totals"] == {
        "count": 6,
        "gross": gross,
        "refunds": back,
        "fees": fees,
        "adjustments": 0,
        "net": gross - back - fees,
    }
    assert lines == {
        cash: first,
        qr: second,
        card: third,
        given[0]: -1,
        given[1]: -(second - 1),
        given[2]: -(first - 1),
    }
    assert await posted(admin, tenant) == {"completion": (3, gross, 0), "refund": (3, back, 0)}
    await check_settlement(api, tenant, qr, settlement, {None: second, given[0]: -1, given[1]: 1 - second})


async def check_settlement(
    api: Api, tenant: Tenant, payment_id: str, settlement: dict[str, Any], amounts: dict[str | None, int]
) -> None:
    """Check that a payment and its refunds name the settlement, and that the timeline shows their lines.

    ``amounts`` maps each refund's id to the amount of its line, and ``None`` to that of the payment.
    """
    events_seen = (await api.get(f"/payments/{payment_id}/events", as_=tenant)).body["data"]
    settled = [entry for entry in events_seen if entry["type"] == "settled"]
    assert {entry.get("refund_id"): entry["amount"] for entry in settled} == amounts
    assert {(entry["settlement_id"], entry["business_date"], entry["is_late"]) for entry in settled} == {
        (settlement["id"], settlement["business_date"], False)
    }
    assert events_seen[-3:] == settled
    for path in (f"/payments/{payment_id}", *(f"/refunds/{refund_id}" for refund_id in amounts if refund_id)):
        assert (await api.get(path, as_=tenant)).body["settlement_id"] == settlement["id"]


async def posted(admin: Admin, tenant: Tenant) -> dict[str, tuple[int, int, int]]:
    """Return the ledger's journals by kind.

    The values are the number of journals, the amount moved, and the sum of the journals' entries.
    """
    rows = await all_of(
        admin,
        b"""SELECT j.kind, count(DISTINCT j.id) AS journals, sum(e.amount) FILTER (WHERE e.amount > 0)::bigint AS moved,
                   sum(e.amount)::bigint AS sum
            FROM ledger_journals j JOIN ledger_entries e ON e.journal_id = j.id
            WHERE j.merchant_id = %s AND j.kind <> 'fee' GROUP BY j.kind""",
        tenant.merchant_id,
    )
    return {row["kind"]: (row["journals"], row["moved"], row["sum"]) for row in rows}
