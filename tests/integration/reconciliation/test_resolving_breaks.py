"""Breaks are booked, linked or written off; invalid resolutions are refused, and a later file may undo them."""

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import MakeTenant
from tests.factories import Tenant
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
from workflows.errors import NotAuthorized
from workflows.reconciliation.resolve_break import ResolutionRequest, resolve_break
from workflows.tenants.actor import Actor


@pytest.mark.parametrize("changes", [{"amount": 900}, {"fee": 1}, {"is_settled": False}, {"currency": "USD"}])
async def test_an_adjustment_corrects_our_books_by_the_difference(
    api: Api, admin: Admin, tenant: Tenant, changes: dict[str, Any]
) -> None:
    settlement_id, _sales, found = await one_break(api, admin, tenant, **changes)
    answer = await resolve(api, tenant, found["id"], resolution="adjust")
    assert (answer.status, answer.body["resolution"], answer.body["resolved_by"]) == (
        200,
        "adjust",
        "usr_merchant_admin",
    )
    row = await admin.execute(
        """SELECT l.amount, s.status, l.provider, (SELECT sum(e.amount) FROM ledger_journals j
                  JOIN ledger_entries e ON e.journal_id = j.id JOIN ledger_accounts a ON a.id = e.account_id
                  WHERE j.source_id = l.entity_id AND a.kind = 'receivable') AS receivable
           FROM settlement_lines l JOIN settlements s ON s.id = l.settlement_id WHERE l.entity_id = %s""",
        [answer.body["reference"]],
    )
    line = await row.fetchone()
    assert line is not None
    expected = found["fee_difference"] - (0 if found["category"] == "fee_mismatch" else found["difference"])
    assert (line["amount"], line["status"], line["provider"]) == (expected, "open", "sandbox")
    assert line["receivable"] == expected
    manager = api.signer.user(tenant, role="store_manager")
    settlement = (await api.get(f"/settlements/{settlement_id}", as_=manager)).body
    assert (settlement["status"], settlement["reconciled_by"]) == ("reconciled", "usr_merchant_admin")
    twice = await resolve(api, tenant, found["id"], resolution="adjust")
    assert (twice.status, twice.body["reference"]) == (200, answer.body["reference"])


async def booked(admin: Admin, tenant: Tenant) -> tuple[int, int]:
    """Return the sum of corrections in the lines of the store's settlements, and in the ledger."""
    found = await admin.execute(
        """SELECT (SELECT coalesce(sum(amount), 0) FROM settlement_lines WHERE store_id = %(id)s AND kind = 'adjustment')
               AS lines, (SELECT coalesce(sum(e.amount), 0) FROM ledger_journals j
               JOIN ledger_entries e ON e.journal_id = j.id JOIN ledger_accounts a ON a.id = e.account_id
               WHERE j.store_id = %(id)s AND j.kind = 'adjustment' AND a.kind = 'receivable') AS ledger""",
        {"id": tenant.store_id},
    )
    row = await found.fetchone()
    assert row is not None
    return int(row["lines"]), int(row["ledger"])


async def two_breaks(
    api: Api, admin: Admin, tenant: Tenant, **resolution: Any
) -> tuple[str, list[Ours], dict[str, Any], dict[str, Any]]:
    """Return the settlement, its four sales and two breaks, the first of which is resolved.

    The statement has 900 for the first sale and 800 for the second.
    """
    sales = old_sales(4)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(
        tenant, settlement_id, [mirror(sales[0], amount=900), mirror(sales[1], amount=800), *map(mirror, sales[2:])]
    )
    await reconcile(api, tenant, settlement_id)
    second, first = sorted(await breaks(api, tenant, settlement_id), key=lambda one: one["theirs"])
    answer = await resolve(api, tenant, first["id"], **resolution)
    assert answer.status == 200
    return settlement_id, sales, answer.body, second


@pytest.mark.parametrize("resolution", [{"resolution": "adjust"}, {"resolution": "write_off", "note": "let it go"}])
async def test_a_booking_is_reversed_when_a_corrected_file_removes_its_break(
    api: Api, admin: Admin, tenant: Tenant, resolution: dict[str, Any]
) -> None:
    settlement_id, sales, first, second = await two_breaks(api, admin, tenant, **resolution)
    assert await booked(admin, tenant) == (-100, -100)
    await upload(tenant, settlement_id, [mirror(sales[0]), mirror(sales[1], amount=800), *map(mirror, sales[2:])])
    for _ in range(2):  # once, not with every run
        assert (await reconcile(api, tenant, settlement_id)).body["open_breaks"] == 1
        assert await booked(admin, tenant) == (0, 0)
    assert (await resolve(api, tenant, second["id"], resolution="adjust")).status == 200
    assert await booked(admin, tenant) == (-201, -201)
    assert first["reference"]


async def test_a_changed_difference_is_booked_against_the_uncorrected_books(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    settlement_id, sales, first, second = await two_breaks(api, admin, tenant, resolution="adjust")
    await upload(
        tenant, settlement_id, [mirror(sales[0], amount=950), mirror(sales[1], amount=800), *map(mirror, sales[2:])]
    )
    assert (await reconcile(api, tenant, settlement_id)).body["open_breaks"] == 2
    seen = {one["id"]: one for one in await breaks(api, tenant, settlement_id)}
    assert first["id"] not in seen
    (new,) = (one for name, one in seen.items() if name != second["id"])
    assert (await resolve(api, tenant, new["id"], resolution="adjust")).status == 200
    assert await booked(admin, tenant) == (-50, -50)


async def test_a_resolution_is_restored_when_a_wrong_file_is_replaced(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id, sales, first, _ = await two_breaks(api, admin, tenant, resolution="write_off", note="let it go")
    wrong = [mirror(sales[0], amount=900), mirror(sales[1], amount=800), *map(mirror, sales[2:])]
    for _ in range(2):
        await upload(tenant, settlement_id, [mirror(sales[0]), *wrong[1:]])
        await reconcile(api, tenant, settlement_id)
        assert await booked(admin, tenant) == (0, 0)
        await upload(tenant, settlement_id, wrong)
        assert (await reconcile(api, tenant, settlement_id)).body["open_breaks"] == 1
        assert await booked(admin, tenant) == (-100, -100)
    again = {one["id"]: one for one in await breaks(api, tenant, settlement_id)}[first["id"]]
    assert (again["resolution"], again["note"]) == ("write_off", "let it go")


async def test_two_breaks_of_one_difference_are_linked_and_both_resolved(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    sales = old_sales(3)
    settlement_id = await closed_settlement(admin, tenant, sales)
    garbled = mirror(sales[0], our_reference="PAY-GARBLED", provider_reference="sbx_garbled")
    await upload(tenant, settlement_id, [garbled, *(mirror(line) for line in sales[1:])])
    run = (await reconcile(api, tenant, settlement_id)).body
    assert run["summary"]["difference"] == 0
    found = {one["category"]: one for one in await breaks(api, tenant, settlement_id)}
    ours, theirs = found["missing_at_provider"], found["missing_internally"]
    assert (await resolve(api, tenant, ours["id"], resolution="link")).details[0]["field"] == "reference"
    answer = await resolve(api, tenant, ours["id"], resolution="link", reference=theirs["id"])
    assert answer.status == 200
    assert await breaks(api, tenant, settlement_id, "?open=true") == []
    linked = {one["id"]: one for one in await breaks(api, tenant, settlement_id)}
    assert {one["resolution"] for one in linked.values()} == {"link"}
    assert {name: one["reference"] for name, one in linked.items()} == {
        ours["id"]: theirs["id"],
        theirs["id"]: ours["id"],
    }


async def test_a_linked_break_reopens_when_the_other_break_is_gone(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = old_sales(4)
    settlement_id = await closed_settlement(admin, tenant, sales)
    garbled = mirror(sales[0], our_reference="PAY-GARBLED", provider_reference="sbx_garbled")
    fee = mirror(sales[1], fee=1)
    await upload(tenant, settlement_id, [garbled, fee, *map(mirror, sales[2:])])
    await reconcile(api, tenant, settlement_id)
    found = {one["category"]: one for one in await breaks(api, tenant, settlement_id)}
    ours, theirs = found["missing_at_provider"], found["missing_internally"]
    assert (await resolve(api, tenant, ours["id"], resolution="link", reference=theirs["id"])).status == 200
    # The provider finds the sale, and the garbled line was another sale after all: nobody has reviewed that line.
    await upload(tenant, settlement_id, [mirror(sales[0]), garbled, fee, *map(mirror, sales[2:])])
    assert (await reconcile(api, tenant, settlement_id)).body["open_breaks"] == 2
    still = {one["id"]: one for one in await breaks(api, tenant, settlement_id)}
    assert (still[theirs["id"]]["resolution"], still[theirs["id"]]["reference"]) == (None, None)


async def test_a_link_between_breaks_that_do_not_cancel_out_is_refused(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = old_sales(2)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, [Theirs("payment", "x", "y", 1, 0), mirror(sales[1])])
    await reconcile(api, tenant, settlement_id)
    ours, theirs = (one["id"] for one in await breaks(api, tenant, settlement_id))
    for reference in (theirs, ours, "brk_0", "pay_0"):
        answer = await resolve(api, tenant, ours, resolution="link", reference=reference)
        assert answer.status in (404, 422), reference
    assert len(await breaks(api, tenant, settlement_id, "?open=true")) == 2


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"resolution": "ignore"}, 422, "note"),
        ({"resolution": "write_off"}, 422, "note"),
        ({"resolution": "forget"}, 422, "resolution"),
        ({"resolution": "ignore", "note": "4111 1111 1111 1111"}, 422, "note"),
        ({}, 422, "resolution"),
        ({"resolution": "ignore", "note": "a", "colour": "red"}, 422, "colour"),
    ],
)
async def test_a_resolution_without_its_note_or_reference_is_refused(
    api: Api, admin: Admin, tenant: Tenant, body: dict[str, Any], status: int, field: str
) -> None:
    _, _, found = await one_break(api, admin, tenant, amount=900)
    answer = await resolve(api, tenant, found["id"], **body)
    assert (answer.status, answer.details[0]["field"]) == (status, field)


async def test_a_break_without_a_difference_in_money_cannot_be_booked(api: Api, admin: Admin, tenant: Tenant) -> None:
    _, _, found = await one_break(api, admin, tenant, at=now() - timedelta(days=5))
    assert (found["category"], found["difference"]) == ("date_mismatch", 0)
    assert (await resolve(api, tenant, found["id"], resolution="adjust")).status == 422
    assert (await resolve(api, tenant, found["id"], resolution="ignore", note="their clock")).status == 200


async def test_only_an_admin_of_the_merchant_resolves_its_breaks(
    api: Api, admin: Admin, tenant: Tenant, make_tenant: MakeTenant
) -> None:
    settlement_id, _, found = await one_break(api, admin, tenant, amount=900)
    body = {"resolution": "ignore", "note": "why not"}
    assert (await resolve(api, tenant, found["id"], role="store_manager", **body)).status == 403
    other = await make_tenant()
    assert (await resolve(api, other, found["id"], **body)).status == 404
    for call in (
        api.get(f"/settlements/{settlement_id}/breaks", as_=api.signer.user(other, role="merchant_admin")),
        api.get(f"/settlements/{settlement_id}/runs", as_=api.signer.user(other, role="merchant_admin")),
        reconcile(api, other, settlement_id),
    ):
        assert (await call).status == 404
    assert len(await breaks(api, tenant, settlement_id, "?open=true")) == 1


async def two_open_breaks(
    api: Api, admin: Admin, tenant: Tenant
) -> tuple[str, list[Ours], dict[str, Any], dict[str, Any]]:
    """Return the settlement, its three sales, and the breaks about a sale garbled in the statement."""
    sales = old_sales(3)
    settlement_id = await closed_settlement(admin, tenant, sales)
    garbled = mirror(sales[0], our_reference="PAY-GARBLED", provider_reference="sbx_garbled")
    await upload(tenant, settlement_id, [garbled, *map(mirror, sales[1:])])
    await reconcile(api, tenant, settlement_id)
    found = {one["category"]: one for one in await breaks(api, tenant, settlement_id)}
    return settlement_id, sales, found["missing_at_provider"], found["missing_internally"]


async def test_a_break_is_not_linked_to_one_that_was_resolved_otherwise(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id, _, ours, theirs = await two_open_breaks(api, admin, tenant)
    assert (await resolve(api, tenant, theirs["id"], resolution="ignore", note="not ours")).status == 200
    refused = await resolve(api, tenant, ours["id"], resolution="link", reference=theirs["id"], note="the same sale")
    assert (refused.status, refused.details[0]["issue"]) == (422, "That break is already resolved: ignore")
    (still,) = await breaks(api, tenant, settlement_id, "?open=true")
    assert still["id"] == ours["id"]


async def test_a_break_is_not_linked_to_one_that_the_last_run_no_longer_found(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    settlement_id, sales, ours, theirs = await two_open_breaks(api, admin, tenant)
    await upload(tenant, settlement_id, [*map(mirror, sales[1:]), mirror(sales[1])])
    await reconcile(api, tenant, settlement_id)
    refused = await resolve(api, tenant, ours["id"], resolution="link", reference=theirs["id"])
    assert (refused.status, refused.details[0]["issue"]) == (422, "Must be a break of its settlement's last run")


async def test_a_resolved_break_keeps_its_resolution(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id, _, ours, _ = await two_open_breaks(api, admin, tenant)
    assert (await resolve(api, tenant, ours["id"], resolution="ignore", note="small")).status == 200
    refused = await resolve(api, tenant, ours["id"], resolution="adjust")
    assert (refused.status, refused.details[0]["issue"]) == (409, "The break is already resolved: ignore")
    assert await booked(admin, tenant) == (0, 0)
    row = {one["id"]: one for one in await breaks(api, tenant, settlement_id)}[ours["id"]]
    assert (row["resolution"], row["note"], row["reference"]) == ("ignore", "small", None)


async def test_a_break_of_a_reconciled_settlement_cannot_be_booked(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id, sales, ours, _ = await two_open_breaks(api, admin, tenant)
    await upload(tenant, settlement_id, map(mirror, sales))
    assert (await reconcile(api, tenant, settlement_id)).body["status"] == "reconciled"
    refused = await resolve(api, tenant, ours["id"], resolution="adjust")
    assert (refused.status, refused.details[0]["issue"]) == (
        409,
        "The settlement is reconciled; its breaks can only be resolved while it is closed",
    )
    assert await booked(admin, tenant) == (0, 0)


async def test_a_worker_cannot_resolve_a_break(api: Api, admin: Admin, tenant: Tenant) -> None:
    _, _, found = await one_break(api, admin, tenant, amount=900)
    with pytest.raises(NotAuthorized):
        await resolve_break(found["id"], ResolutionRequest("adjust"), actor=Actor(worker="worker-of-the-test"))
    assert await booked(admin, tenant) == (0, 0)
