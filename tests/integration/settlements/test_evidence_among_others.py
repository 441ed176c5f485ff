"""A statement decides unknown outcomes while other transactions lock bills, inquire, cancel or reconcile."""

import asyncio

import psycopg

from mpac.stack.local_stack import LocalStack
from tests.factories import time_passes
from tests.integration.bills.bill_helpers import order_status, read
from tests.integration.bills.test_reservations import new_bill
from tests.integration.settlements.back_office import WORKER, BackOffice, payment_in_doubt
from tests.integration.settlements.statement_api import listed, reconcile_as_worker, reconcile_fetched_statement, row_of
from workflows.errors import InvalidStatusTransition
from workflows.providers.base import NotFound, Unknown
from workflows.reconciliation.resolve_unknown_outcomes import resolve_unknown_outcomes


async def test_a_bill_that_was_locked_is_paid_by_the_next_try(back_office: BackOffice, stack: LocalStack) -> None:
    shop = back_office.shop
    bill = await new_bill(back_office.api, shop.tenant, 1_000)
    shop.provider.charges.append(Unknown("the answer was lost"))
    payment_id = await shop.payments.pending(amount=1_000, tip_amount=50, bill_id=bill["id"])
    await shop.payments.process(payment_id)
    other = await payment_in_doubt(shop, 700)
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as foreign:
        await foreign.execute("SELECT FROM bills WHERE id = %s FOR UPDATE", [bill["id"]])
        day = await reconcile_fetched_statement(
            back_office, [listed(f"{payment_id}:1", 1_050), listed(f"{other}:1", 700)]
        )
        assert [(await row_of(shop, one))["status"] for one in (payment_id, other)] == ["processing", "completed"]
    await reconcile_as_worker(back_office, day)
    row = await row_of(shop, payment_id)
    assert (row["status"], row["captured_amount"]) == ("completed", 1_050)
    paid = await read(back_office.api, shop.tenant, bill["id"])
    assert (paid["status"], paid["paid_amount"], paid["reserved_amount"]) == ("paid", 1_000, 0)
    assert await order_status(back_office.api, shop.tenant, bill["order_ids"][0]) == "paid"
    assert await back_office.status(day) == "reconciled"


async def test_concurrent_runs_end_each_doubt_once(back_office: BackOffice) -> None:
    shop = back_office.shop
    ids = [await payment_in_doubt(shop, 1_000) for _ in range(20)]
    lines = [listed(f"{one}:1", 1_000) for one in ids]
    for payment_id in ids:
        await time_passes(shop.admin, payment_id, seconds=60)
    shop.provider.inquiries.extend([NotFound()] * 10)  # wrong answers among correct ones
    day = str((await shop.close_now())["id"])
    shop.provider.statements = [lines]
    done = await asyncio.gather(
        reconcile_as_worker(back_office, day),
        shop.payments.process(*ids),
        *(resolve_unknown_outcomes(day, actor=WORKER) for _ in range(3)),
        *(shop.payments.cancel(one) for one in ids[:5]),
        return_exceptions=True,
    )
    refused = [one for one in done if isinstance(one, BaseException)]
    assert all(isinstance(one, InvalidStatusTransition) for one in refused), refused  # these cancels came after the end
    for payment_id in ids:
        await time_passes(shop.admin, payment_id, seconds=60)
    await shop.payments.process(*ids)  # withdraws what was cancelled before its record: too late
    await reconcile_as_worker(back_office, day)
    assert await back_office.status(day) == "reconciled"
    for payment_id in ids:
        row = await row_of(shop, payment_id)
        assert row["status"] == "completed"
        found = await shop.admin.execute("SELECT event FROM payment_history WHERE payment_id = %s", [payment_id])
        events = [one["event"] for one in await found.fetchall()]
        assert (events.count("complete"), len(events)) == (1, row["version"])
    found = await shop.admin.execute(
        """SELECT source_id FROM ledger_journals WHERE kind = 'completion' AND source_id = ANY(%s)""", [ids]
    )
    assert sorted(row["source_id"] for row in await found.fetchall()) == sorted(ids)
