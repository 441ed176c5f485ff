"""A correction is never booked for money that is or will be in the books, and a premature one is reversed."""

import asyncio
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from tests.conftest import MakeTenant
from tests.factories import TERMINAL
from tests.integration.settlements.back_office import (
    BOOKED,
    WORKER,
    BackOffice,
    end_doubt,
    payment_in_doubt,
    refund_in_doubt,
    statement_line_of,
)
from tests.integration.settlements.settlement_helpers import SettlementShop
from tests.polling import eventually
from tests.reconciliation_helpers import LINES, manager, statement_file, upload
from tests.reference_matcher import Theirs
from workflows.ids import new_id
from workflows.providers.base import Declined
from workflows.providers.registry import Providers
from workflows.reconciliation.auto_reconcile import reconcile_due
from workflows.reconciliation.reconcile import reconcile_settlement
from workflows.reconciliation.statements.store_file import Incoming, receive_statement
from workflows.tenants.actor import Actor


@pytest.mark.parametrize("kind", ["payment", "refund"])
@pytest.mark.parametrize("booked", BOOKED, ids=["adjust", "write_off"])
async def test_a_break_about_an_unknown_outcome_waits_and_is_compared_again_automatically(
    back_office: BackOffice, kind: str, booked: dict[str, Any]
) -> None:
    shop = back_office.shop
    if kind == "payment":
        entity_id, amount, already = await payment_in_doubt(shop, 6_773), 6_773, 0
    else:
        (_, entity_id), amount, already = await refund_in_doubt(shop, 700), -700, 5_000
    settlement_id = await back_office.close(more=[Theirs(kind, f"{entity_id}:1", f"ref-{entity_id}:1", amount, 0)])
    await back_office.run(settlement_id)
    (found,) = await back_office.breaks(settlement_id)
    assert (found["category"], found["waits_for"]) == ("status_mismatch", entity_id)
    for body in (booked, {"resolution": "link", "reference": entity_id}):
        refused = await back_office.resolve(found["id"], **body)
        assert (refused.status, refused.code) == (409, "INVALID_STATUS_TRANSITION"), body
        assert "Wait until it is final" in refused.details[0]["issue"]
    await shop.admin.execute(
        """INSERT INTO reconciliation_tries (settlement_id, merchant_id, store_id, tries)
           SELECT id, merchant_id, store_id, 1 FROM settlements WHERE id = %s""",
        [settlement_id],
    )
    assert await back_office.due(settlement_id) is None

    await end_doubt(shop, entity_id)
    assert await back_office.due(settlement_id) == "final"
    providers = Providers({"sandbox": shop.provider})
    await reconcile_due(settlement_id, worker="worker-of-the-test", settings=back_office.settings, providers=providers)
    assert await back_office.due(settlement_id) is None  # once, and not again and again
    (found,) = await back_office.breaks(settlement_id)
    assert (found["category"], found["waits_for"]) == ("date_mismatch", None)
    refused = await back_office.resolve(found["id"], **booked)
    assert (refused.status, f"{entity_id}, which is completed" in refused.details[0]["issue"]) == (409, True)
    assert (await back_office.resolve(found["id"], resolution="link", reference=entity_id)).status == 200
    assert await back_office.status(settlement_id) == "reconciled"
    second = await back_office.close()
    assert (await back_office.run(second))["status"] == "reconciled"
    assert await back_office.provider_total() == already + amount


async def test_a_break_that_quotes_an_open_payment_by_the_providers_reference_waits_for_it(
    back_office: BackOffice,
) -> None:
    payment_id = await payment_in_doubt(back_office.shop, 800)
    await back_office.shop.admin.execute(
        "UPDATE payments SET provider_reference = 'code-1' WHERE id = %s", [payment_id]
    )
    settlement_id = await back_office.close(more=[Theirs("payment", None, "code-1", 800, 0)])
    await back_office.run(settlement_id)
    (found,) = await back_office.breaks(settlement_id)
    assert (found["category"], found["waits_for"]) == ("status_mismatch", payment_id)
    assert (await back_office.resolve(found["id"], resolution="adjust")).status == 409


@pytest.mark.parametrize("by", ["our_reference", "provider_reference"])
@pytest.mark.parametrize("booked", BOOKED, ids=["adjust", "write_off"])
async def test_a_line_about_a_payment_of_another_day_can_only_be_linked_to_it(
    back_office: BackOffice, by: str, booked: dict[str, Any]
) -> None:
    shop = back_office.shop
    await shop.sell(1_000)
    first = (await shop.close_now())["id"]
    sale = await shop.sell(4_838, fee=100)
    refund = await shop.make_refund(sale, 800)
    other = await shop.sell(4_838)
    second = (await shop.close_now())["id"]
    lines = [statement_line_of(one) for one in (await shop.lines(first)).values()]
    later = await shop.lines(second)
    for entity_id in (sale, refund):
        hidden = {"our_reference": None} if by == "provider_reference" else {}
        lines.append(statement_line_of(later[entity_id], **hidden))
    await upload(shop.tenant, first, lines)  # a file that covers two days
    await back_office.run(first)
    found = {one["kind"]: one for one in await back_office.breaks(first)}
    for kind, entity_id in (("payment", sale), ("refund", refund)):
        assert found[kind]["category"] == "date_mismatch"
        refused = await back_office.resolve(found[kind]["id"], **booked)
        assert (refused.status, entity_id in refused.details[0]["issue"]) == (409, True)
        strange = await back_office.resolve(found[kind]["id"], resolution="link", reference=other, note="looks alike")
        assert (strange.status, strange.details[0]["field"]) == (422, "reference")
        assert (await back_office.resolve(found[kind]["id"], resolution="link", reference=entity_id)).status == 200
    assert await back_office.status(first) == "reconciled"


async def test_a_payment_of_another_store_of_the_merchant_is_not_booked_again(
    back_office: BackOffice, make_tenant: MakeTenant
) -> None:
    shop = back_office.shop
    store_id = (await make_tenant()).store_id
    await shop.admin.execute("UPDATE stores SET merchant_id = %s WHERE id = %s", [shop.tenant.merchant_id, store_id])
    sale = await shop.sell(3_000)
    for table, key in (("payments", "id"), ("payment_attempts", "payment_id")):
        await shop.admin.execute(f"UPDATE {table} SET store_id = %s WHERE {key} = %s", [store_id, sale])
    await shop.sell(1_000)
    settlement_id = await back_office.close(more=[Theirs("payment", f"{sale}:1", "x", 3_000, 0)])
    await back_office.run(settlement_id)
    (found,) = await back_office.breaks(settlement_id)
    assert found["category"] == "missing_internally"
    assert (await back_office.resolve(found["id"], resolution="adjust")).status == 409
    lacking = await back_office.resolve(found["id"], resolution="link", reference=sale)
    assert (lacking.status, lacking.details[0]["field"]) == (422, "note")
    assert (
        await back_office.resolve(found["id"], resolution="link", reference=sale, note="their other shop")
    ).status == 200
    assert await back_office.provider_total() == 1_000


async def test_a_failed_payment_that_moved_at_the_provider_can_be_booked(back_office: BackOffice) -> None:
    shop = back_office.shop
    shop.provider.charges.append(Declined("do_not_honour", "no"))
    payment_id = await shop.payments.pending(amount=900)
    await shop.payments.process(payment_id)
    settlement_id = await back_office.close(more=[Theirs("payment", f"{payment_id}:1", "x", 900, 0)])
    await back_office.run(settlement_id)
    (found,) = await back_office.breaks(settlement_id)
    assert (found["category"], found["waits_for"]) == ("status_mismatch", None)
    linked = await back_office.resolve(found["id"], resolution="link", reference=payment_id)
    assert (linked.status, linked.details[0]["field"]) == (422, "reference")
    assert (await back_office.resolve(found["id"], resolution="adjust")).status == 200
    assert await back_office.provider_total() == 900


async def test_a_reversed_sale_whose_refund_is_in_doubt_waits_for_the_refund(back_office: BackOffice) -> None:
    shop = back_office.shop
    payment_id, refund_id = await refund_in_doubt(shop, 5_000)
    settlement_id = (await shop.close_now())["id"]
    line = (await shop.lines(settlement_id))[payment_id]
    undone = statement_line_of(line, kind="reversal", amount=-5_000)
    await upload(shop.tenant, settlement_id, [statement_line_of(line), undone])
    await back_office.run(settlement_id)
    (found,) = await back_office.breaks(settlement_id)
    assert (found["category"], found["difference"]) == ("status_mismatch", 5_000)
    assert (await back_office.resolve(found["id"], resolution="adjust")).status == 409
    await end_doubt(shop, refund_id)
    assert refund_id in (await back_office.resolve(found["id"], resolution="adjust")).details[0]["issue"]
    assert (await back_office.resolve(found["id"], resolution="link", reference=refund_id)).status == 200
    await back_office.close()
    assert await back_office.provider_total() == 0


async def test_money_that_an_earlier_correction_removed_may_be_booked_again(back_office: BackOffice) -> None:
    shop = back_office.shop
    sale = await shop.sell(2_000)
    first = await back_office.close(upload_lines=False, more=[Theirs("payment", "their-own", "their-own", 1, 0)])
    line = (await shop.lines(first))[sale]
    settings = back_office.settings.model_copy(update={"statement_sla_hours": 0.0})
    await reconcile_settlement(first, actor=WORKER, settings=settings)
    found = {one["category"]: one for one in await back_office.breaks(first)}
    for one in found.values():
        assert (await back_office.resolve(one["id"], resolution="adjust")).status == 200
    assert await back_office.provider_total() == 1
    second = await back_office.close(more=[statement_line_of(line)])  # the provider reports the line a day late
    await back_office.run(second)
    (late,) = await back_office.breaks(second)
    assert late["category"] == "date_mismatch"
    assert (await back_office.resolve(late["id"], resolution="adjust")).status == 200
    assert await back_office.provider_total() == 2_001


async def test_a_line_missing_in_one_settlement_is_linked_to_another_that_reports_it(back_office: BackOffice) -> None:
    shop = back_office.shop
    await shop.sell(1_000)
    first = (await shop.close_now())["id"]
    sale = await shop.sell(2_000)
    second = (await shop.close_now())["id"]
    told = [statement_line_of(one) for place in (first, second) for one in (await shop.lines(place)).values()]
    await upload(shop.tenant, first, told)
    await upload(shop.tenant, second, [Theirs("payment", "nothing-of-ours", "no", 0, 0, is_settled=False)])
    settings = back_office.settings.model_copy(update={"statement_sla_hours": 0.0})
    for place in (first, second):
        await reconcile_settlement(place, actor=WORKER, settings=settings)
    (theirs,), (ours,) = await back_office.breaks(first), await back_office.breaks(second)
    assert (theirs["category"], ours["category"]) == ("date_mismatch", "missing_at_provider")
    refused = await back_office.resolve(ours["id"], resolution="adjust")
    assert (refused.status, theirs["id"] in refused.details[0]["issue"]) == (409, True)
    assert (await back_office.resolve(theirs["id"], resolution="link", reference=sale)).status == 200
    assert (await back_office.resolve(ours["id"], resolution="link", reference=theirs["id"])).status == 200
    assert [await back_office.status(one) for one in (first, second)] == ["reconciled", "reconciled"]
    assert await back_office.provider_total() == 3_000


@pytest.mark.parametrize("booked", BOOKED, ids=["adjust", "write_off"])
async def test_a_correction_for_a_sale_that_arrives_later_is_reversed_automatically(
    back_office: BackOffice, booked: dict[str, Any]
) -> None:
    shop = back_office.shop
    reference = f"7{new_id('payment')[-22:]}"
    first = await back_office.close(more=[Theirs("payment", None, reference, 1_500, 0)])
    await back_office.run(first)
    (found,) = await back_office.breaks(first)
    assert (await back_office.resolve(found["id"], **booked)).status == 200
    assert (await back_office.status(first), await back_office.provider_total()) == ("reconciled", 1_500)
    sale = await shop.sell(1_500)  # the terminal was offline
    await shop.admin.execute("UPDATE payments SET provider_reference = %s WHERE id = %s", [reference, sale])
    second = await back_office.close()
    for _ in range(2):  # once, not with every run
        if await back_office.status(second) == "closed":
            assert (await back_office.run(second))["status"] == "reconciled"
        assert await back_office.provider_total() == 1_500
    row = await (await shop.admin.execute("SELECT * FROM breaks WHERE id = %s", [found["id"]])).fetchone()
    assert row is not None
    assert (row["resolution"], row["reference"]) == ("link", sale)


async def test_a_sale_of_the_terminal_with_a_slip_number_of_another_day_is_another_sale(
    back_office: BackOffice,
) -> None:
    shop = back_office.shop
    facts = {**TERMINAL.facts, "slip_number": "00017"}
    for amount in (700, 800):
        sale = await shop.payments.pending(replace(TERMINAL, facts=facts), amount=amount)
        await shop.payments.process(sale)
        settlement_id = (await shop.close_now())["id"]
        line = (await shop.lines(settlement_id))[sale]
        theirs = [statement_line_of(line, provider="external")]
        if amount == 800:
            theirs.append(
                statement_line_of(line, provider="external", our_reference=None, amount=900, provider_reference="00018")
            )
        await upload_external(shop, settlement_id, theirs)
        await back_office.run(settlement_id)
    (found,) = await back_office.breaks(settlement_id)
    assert found["category"] == "missing_internally"
    assert (await back_office.resolve(found["id"], resolution="adjust")).status == 200


async def upload_external(shop: SettlementShop, settlement_id: str, lines: list[Theirs]) -> None:
    incoming = Incoming(settlement_id, "external", statement_file(lines), "csv", mapping=LINES)
    await receive_statement(incoming, actor=Actor(manager(shop.tenant)))


async def test_a_resolution_that_waited_for_the_lock_reads_the_break_again(back_office: BackOffice) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 3_000)
    settlement_id = await back_office.close(more=[Theirs("payment", f"{payment_id}:1", "x", 3_000, 0)])
    await back_office.run(settlement_id)
    (found,) = await back_office.breaks(settlement_id)
    url = shop.admin.info.dsn
    async with await psycopg.AsyncConnection.connect(url, password=shop.admin.info.password) as other:
        await other.execute("SELECT FROM settlements WHERE id = %s FOR UPDATE", [settlement_id])
        waiting = asyncio.create_task(back_office.resolve(found["id"], resolution="adjust"))
        locks = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
        await eventually(lambda: rows(shop, locks), until=bool, within=60)
        await end_doubt(shop, payment_id)
        await other.rollback()
    answer = await waiting
    assert (answer.status, f"{payment_id}, which is completed" in answer.details[0]["issue"]) == (409, True)
    assert await back_office.provider_total() == 0


async def rows(shop: SettlementShop, query: str) -> list[Any]:
    return await (await shop.admin.execute(query.encode())).fetchall()
