"""A shop with a reconciled month, in a database of its own: what is archived there is missing for no other test."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace

import psycopg
import pytest
import uuid_utils
from psycopg.rows import DictRow, dict_row
from pydantic import SecretStr

from mpac.stack.local_stack import LocalStack
from tests.conftest import Serve
from tests.factories import PaymentMaker, Tenant, new_tenant
from tests.fakes import FakeProvider
from tests.harness import Api, clone_of_template
from tests.integration.bills.bill_helpers import bill_of
from tests.integration.settlements.back_office import BackOffice
from tests.integration.settlements.settlement_helpers import WORKER, SettlementShop
from workflows import clock, ids
from workflows.archive.archive import open_connection
from workflows.archive.months import read_months
from workflows.archive.obstacles import Policy
from workflows.processing.executor import LeaseExecutor
from workflows.providers.base import Declined
from workflows.providers.registry import Providers
from workflows.refunds.workload import REFUNDS
from workflows.settings import Settings
from workflows.settlements.count_cash import count_cash
from workflows.settlements.open_periods import open_due_periods

LATER = datetime(2040, 1, 1, tzinfo=UTC)
"""A time at which every month is old enough."""
POLICY = Policy(after_months=13, now=LATER)
ORDER = {"order_type": "takeaway", "items": [{"name": "Tea", "quantity": 1, "unit_price": 1_000, "tax_rate": "0"}]}


@dataclass
class OldShop:
    """A shop with everything in one month: sales, refunds, failures, bills; reconciled, with the next period open."""

    shop: SettlementShop
    office: BackOffice
    api: Api
    url: str
    admin: psycopg.AsyncConnection[DictRow]
    sold: str
    refunded: str
    refund: str
    cash: str
    failed: str
    billed: str
    order: str
    settlement: str
    month: str

    @property
    def tenant(self) -> Tenant:
        return self.shop.tenant


@pytest.fixture
async def old(
    stack: LocalStack, settings: Settings, serve: Serve, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OldShop]:
    """Yield a shop whose sales are all reconciled. What it does from now on has ids of the next month."""
    async with (
        clone_of_template(stack.urls.database) as url,
        await psycopg.AsyncConnection.connect(url, autocommit=True, row_factory=dict_row) as admin,
        serve(database_url=SecretStr(url)) as api,
    ):
        tenant = await new_tenant(admin)
        providers = Providers({provider.name: provider})
        payments = PaymentMaker(settings, providers, tenant)
        refunds = LeaseExecutor(REFUNDS, settings=settings, providers=providers, worker=WORKER)
        shop = SettlementShop(tenant, admin, payments, refunds, provider)
        await open_due_periods(worker=WORKER)
        office = BackOffice(shop, api, settings)
        sold = await shop.sell(1_000, fee=36, tip_amount=100, client_reference="till-1")
        refunded = await shop.sell(2_000, fee=72)
        refund = await shop.make_refund(refunded, 500)
        cash = await shop.sell(5_000, cash=True)
        provider.charges.append(Declined("declined", "no money"))
        failed = await payments.pending()
        await payments.process(failed)
        order = (await api.post("/orders", ORDER, as_=tenant, key="order")).body["id"]
        await api.post(f"/orders/{order}/submit", {}, as_=tenant, key="submit")
        bill = await bill_of(api, tenant, order)
        billed = await shop.sell(1_000, bill_id=bill["id"])
        a_month_later(monkeypatch)
        settlement = await office.close()
        await count_cash(settlement, cash_actual=4_990, note="ten short", caller=shop.manager, request_id="req_1")
        await office.run(settlement)
        assert await office.status(settlement) == "reconciled"
        await admin.execute("DELETE FROM idempotency_records")  # as housekeeping does after a day
        await admin.execute("UPDATE payments SET created_at = created_at - interval '2 days'")
        with open_connection(url) as connection:
            (month,) = (found.name for found in read_months(connection) if found.low <= sold[4:] < found.high)
        yield OldShop(
            shop, office, api, url, admin, sold, refunded, refund, cash, failed, billed, order, settlement, month
        )
        await payments.processor.drain(5)
        await refunds.drain(5)


def a_month_later(patch: pytest.MonkeyPatch) -> None:
    """Make all further ids in this process as if the months that exist now were over."""
    real = uuid_utils.uuid7
    now = clock.now()
    ahead = datetime(now.year + (now.month >= 11), (now.month + 1) % 12 + 1, 2, tzinfo=UTC) - now

    def uuid7() -> SimpleNamespace:
        made = real().hex
        return SimpleNamespace(hex=f"{int(made[:12], 16) + int(ahead.total_seconds() * 1_000):012x}{made[12:]}")

    patch.setattr(ids, "uuid_utils", SimpleNamespace(uuid7=uuid7))
