"""A break's link must refer to matching money, and a currency mismatch is booked in both currencies."""

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import MakeTenant
from tests.factories import CASH, QR, PaymentMaker, Tenant
from tests.harness import Api
from tests.integration.reconciliation.reconciliation_helpers import (
    Admin,
    breaks,
    old_sales,
    one_break,
    reconcile,
    resolve,
)
from tests.reconciliation_helpers import closed_settlement, mirror, upload
from tests.reference_matcher import Ours, Theirs
from workflows.clock import now
from workflows.providers.base import Succeeded


async def unmatched_breaks(
    api: Api, admin: Admin, tenant: Tenant, *theirs: Theirs
) -> tuple[str, list[Ours], list[dict[str, Any]]]:
    """Reconcile a settlement of two sales whose statement also has the lines ``theirs``.

    These lines match no sale of ours. Return the settlement's id, the sales and the breaks.
    """
    sales = old_sales(2)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, [*map(mirror, sales), *theirs])
    await reconcile(api, tenant, settlement_id)
    return settlement_id, sales, sorted(await breaks(api, tenant, settlement_id), key=lambda one: one["theirs"])


def unmatched_line(amount: int, **changes: Any) -> Theirs:
    """Return a line of the provider that refers to nothing of ours."""
    facts = {"our_reference": None, "provider_reference": f"x-{amount}", "fee": 0, **changes}
    return Theirs("payment", amount=amount, **facts)


async def a_sale(payments: PaymentMaker, provider: Any, amount: int, *, cash: bool = False) -> str:
    """Return a completed payment that is in no closed settlement yet."""
    if not cash:
        provider.charges.append(Succeeded(amount, f"ref-{amount}"))
    payment_id = await payments.pending(CASH if cash else QR, amount=amount)
    await payments.process(payment_id)
    return payment_id


async def test_a_link_that_differs_needs_a_note(
    api: Api, admin: Admin, tenant: Tenant, payments: PaymentMaker, provider: Any
) -> None:
    _, _, (found,) = await unmatched_breaks(api, admin, tenant, unmatched_line(60_000))
    coin = await a_sale(payments, provider, 1, cash=True)
    answer = await resolve(api, tenant, found["id"], resolution="link", reference=coin)
    assert (answer.status, answer.details[0]["field"]) == (422, "note")
    assert answer.details[0]["issue"].endswith("differ in: provider, sum")
    same = await a_sale(payments, provider, 60_000)
    assert (await resolve(api, tenant, found["id"], resolution="link", reference=same)).status == 200


async def test_a_link_that_differs_is_stored_with_its_note(
    api: Api, admin: Admin, tenant: Tenant, payments: PaymentMaker, provider: Any
) -> None:
    settlement_id, _, (found,) = await unmatched_breaks(api, admin, tenant, unmatched_line(1_001))
    sale = await a_sale(payments, provider, 1_000)
    body = {"resolution": "link", "reference": sale, "note": "rounded by the acquirer"}
    answer = await resolve(api, tenant, found["id"], **body)
    assert (answer.status, answer.body["note"]) == (200, "rounded by the acquirer")
    assert await breaks(api, tenant, settlement_id, "?open=true") == []


async def test_a_payment_explains_one_break_only(
    api: Api, admin: Admin, tenant: Tenant, payments: PaymentMaker, provider: Any
) -> None:
    twins = [unmatched_line(500, provider_reference=name) for name in ("a", "b")]
    _, _, (first, second) = await unmatched_breaks(api, admin, tenant, *twins)
    sale = await a_sale(payments, provider, 500)
    assert (await resolve(api, tenant, first["id"], resolution="link", reference=sale)).status == 200
    answer = await resolve(api, tenant, second["id"], resolution="link", reference=sale, note="the same again")
    assert (answer.status, answer.details[0]["field"]) == (422, "reference")


async def test_a_link_is_to_money_that_moved_and_is_final(
    api: Api, admin: Admin, tenant: Tenant, payments: PaymentMaker, make_tenant: MakeTenant
) -> None:
    settlement_id, sales, (found,) = await unmatched_breaks(api, admin, tenant, unmatched_line(1_000))
    waiting = await payments.pending()
    gone = await payments.pending()
    await payments.cancel(gone)
    expected = {waiting: 409, gone: 422, found["id"]: 422, "pay_0": 422, "brk_0": 404, "nonsense": 422}
    for reference, status in expected.items():
        answer = await resolve(api, tenant, found["id"], resolution="link", reference=reference, note="why not")
        assert answer.status == status, reference
    other_id, _, other = await one_break(api, admin, await make_tenant(), amount=900)
    answer = await resolve(api, tenant, found["id"], resolution="link", reference=other["id"], note="theirs")
    assert answer.status == 404, other_id
    assert len(await breaks(api, tenant, settlement_id, "?open=true")) == 1
    assert sales


async def test_a_break_is_not_linked_to_the_payment_it_is_about(
    api: Api, admin: Admin, tenant: Tenant, payments: PaymentMaker, provider: Any
) -> None:
    sale = await a_sale(payments, provider, 1_000)
    settlement_id = await closed_settlement(admin, tenant, [])
    (line,) = await (
        await admin.execute("SELECT * FROM settlement_lines WHERE settlement_id = %s", [settlement_id])
    ).fetchall()
    told = Theirs("payment", line["our_reference"], line["provider_reference"], 900, 0)
    await upload(tenant, settlement_id, [told])
    await reconcile(api, tenant, settlement_id)
    (found,) = await breaks(api, tenant, settlement_id)
    answer = await resolve(api, tenant, found["id"], resolution="link", reference=sale, note="it is this one")
    assert (answer.status, answer.details[0]["field"]) == (422, "reference")


@pytest.mark.parametrize("booked", [{"resolution": "adjust"}, {"resolution": "write_off", "note": "let it go"}])
@pytest.mark.parametrize("is_alone", [False, True], ids=["pair", "theirs alone"])
async def test_a_currency_mismatch_is_booked_and_reversed_in_both_currencies(
    api: Api, admin: Admin, tenant: Tenant, booked: dict[str, Any], *, is_alone: bool
) -> None:
    sales = old_sales(3)
    settlement_id = await closed_settlement(admin, tenant, sales)
    open_break = mirror(sales[1], amount=1)
    dollars = mirror(sales[0], amount=700, currency="USD", fee=20)
    if is_alone:
        told = [mirror(sales[0]), unmatched_line(700, currency="USD", fee=20), open_break, mirror(sales[2])]
    else:
        told = [dollars, open_break, mirror(sales[2])]
    await upload(tenant, settlement_id, told)
    await reconcile(api, tenant, settlement_id)
    found = next(one for one in await breaks(api, tenant, settlement_id) if one["their_line"]["currency"] == "USD")
    answer = await resolve(api, tenant, found["id"], **booked)
    assert answer.status == 200, answer.raw
    ours = 0 if is_alone else -(sales[0].amount - sales[0].fee)
    assert await corrections(admin, tenant) == {"USD": 680, **({"JPY": ours} if ours else {})}
    assert answer.body["other_reference"]
    assert bool(answer.body["reference"]) is not is_alone
    # The file was wrong: the booking is reversed in both currencies, once.
    await upload(tenant, settlement_id, [mirror(sales[0]), open_break, mirror(sales[2])])
    for _ in range(2):
        await reconcile(api, tenant, settlement_id)
        assert set((await corrections(admin, tenant)).values()) == {0}
    journals = await admin.execute(
        """SELECT j.currency, sum(e.amount)::bigint AS sum FROM ledger_journals j
           JOIN ledger_entries e ON e.journal_id = j.id WHERE j.store_id = %s GROUP BY j.id, j.currency""",
        [tenant.store_id],
    )
    assert {row["sum"] for row in await journals.fetchall()} == {0}


async def corrections(admin: Admin, tenant: Tenant) -> dict[str, int]:
    """Return the sum of corrections by currency.

    Check that each correction is in an open settlement of its currency.
    """
    found = await admin.execute(
        """SELECT s.currency, sum(l.amount)::bigint AS sum, bool_and(s.status = 'open') AS is_open
           FROM settlement_lines l JOIN settlements s ON s.id = l.settlement_id AND s.currency = l.currency
           WHERE l.store_id = %s AND l.kind = 'adjustment' GROUP BY 1""",
        [tenant.store_id],
    )
    rows = await found.fetchall()
    assert all(row["is_open"] for row in rows)
    return {row["currency"]: row["sum"] for row in rows}


async def test_breaks_whose_sums_differ_can_only_be_linked_with_a_note(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = old_sales(2)
    settlement_id = await closed_settlement(admin, tenant, sales)
    at = now() - timedelta(hours=30)
    await upload(tenant, settlement_id, [unmatched_line(1, at=at), mirror(sales[1])])
    await reconcile(api, tenant, settlement_id)
    ours, theirs = (one["id"] for one in await breaks(api, tenant, settlement_id))
    answer = await resolve(api, tenant, ours, resolution="link", reference=theirs)
    assert (answer.status, answer.details[0]["field"]) == (422, "note")
    assert (await resolve(api, tenant, ours, resolution="link", reference=theirs, note="mistyped")).status == 200
    assert await breaks(api, tenant, settlement_id, "?open=true") == []
