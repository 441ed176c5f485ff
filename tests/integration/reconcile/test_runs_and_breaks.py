"""Runs over HTTP: numbered, explained, with breaks that keep their resolutions, until nothing is left open (F33)."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.conftest import MakeTenant, Serve
from tests.factories import Tenant
from tests.harness import Answer, Api
from tests.reconciling import closed_settlement, mirror, open_settlement, some_sales, upload
from tests.reference_matcher import Ours, Theirs
from workflows.clock import now
from workflows.settings import Settings
from workflows.settlements.reconciliation.categories import Category

Admin = psycopg.AsyncConnection[DictRow]


def old_sales(count: int) -> list[Ours]:
    """Sales whose provider had the time to report them."""
    return some_sales(count, at=(now() - timedelta(hours=30)).replace(microsecond=0))


async def reconcile(api: Api, tenant: Tenant, settlement_id: str) -> Answer:
    manager = api.signer.user(tenant, role="store_manager")
    return await api.post(f"/settlements/{settlement_id}/reconcile", as_=manager)


async def breaks(api: Api, tenant: Tenant, settlement_id: str, query: str = "") -> list[dict[str, Any]]:
    manager = api.signer.user(tenant, role="store_manager")
    answer = await api.get(f"/settlements/{settlement_id}/breaks{query}", as_=manager)
    assert answer.status == 200
    found: list[dict[str, Any]] = answer.body["data"]
    return found


async def resolve(api: Api, tenant: Tenant, break_id: str, *, role: str = "merchant_admin", **body: Any) -> Answer:
    return await api.post(f"/breaks/{break_id}/resolve", body, as_=api.signer.user(tenant, role=role))


async def test_a_statement_that_agrees_reconciles(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = old_sales(20)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, [mirror(line) for line in sales])
    answer = await reconcile(api, tenant, settlement_id)
    assert answer.status == 200
    assert (answer.body["run"], answer.body["status"], answer.body["open_breaks"]) == (1, "reconciled", 0)
    summary = answer.body["summary"]
    assert set(summary["categories"]) == set(Category)
    assert (summary["categories"]["matched"]["count"], summary["difference"]) == (20, 0)
    manager = api.signer.user(tenant, role="store_manager")
    settlement = (await api.get(f"/settlements/{settlement_id}", as_=manager)).body
    assert (settlement["status"], settlement["reconciled_by"]) == ("reconciled", "usr_store_manager")
    assert settlement["reconciled_at"]
    again = await reconcile(api, tenant, settlement_id)
    assert (again.status, again.code) == (409, "INVALID_STATUS_TRANSITION")


async def test_nothing_is_signed_off_while_a_provider_that_was_asked_does_not_answer(
    serve: Serve, admin: Admin, tenant: Tenant
) -> None:
    settlement_id = await closed_settlement(
        admin, tenant, []
    )  # by our books the provider moved nothing, by its own perhaps
    async with serve(sandbox_url="http://127.0.0.1:1") as api:
        answer = await reconcile(api, tenant, settlement_id)
        assert (answer.status, answer.body["run"], answer.body["status"]) == (200, 1, "closed")
        assert [one["provider"] for one in answer.body["fetched"] if one["trouble"]] == ["sandbox"]
        await upload(tenant, settlement_id, [])
        assert (await reconcile(api, tenant, settlement_id)).body["status"] == "reconciled"


async def test_an_open_settlement_is_not_reconciled(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = (await open_settlement(admin, tenant))["id"]
    assert (await reconcile(api, tenant, settlement_id)).status == 409


async def test_a_missing_statement_is_expected_first_and_missing_later(api: Api, admin: Admin, tenant: Tenant) -> None:
    fresh, old = some_sales(3), old_sales(2)
    settlement_id = await closed_settlement(admin, tenant, fresh + old)
    answer = await reconcile(api, tenant, settlement_id)
    counts = {name: part["count"] for name, part in answer.body["summary"]["categories"].items() if part["count"]}
    assert counts == {"expected": 3, "missing_at_provider": 2}
    assert answer.body["status"] == "closed"
    assert {one["category"] for one in await breaks(api, tenant, settlement_id)} == {"missing_at_provider"}


async def test_what_is_still_expected_keeps_a_settlement_open_to_statements(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    sales = some_sales(3)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, [mirror(line) for line in sales[:2]])
    answer = await reconcile(api, tenant, settlement_id)
    assert (answer.body["status"], answer.body["open_breaks"]) == ("closed", 0)


async def one_break(api: Api, admin: Admin, tenant: Tenant, **changes: Any) -> tuple[str, list[Ours], dict[str, Any]]:
    """A settlement of three sales whose statement differs in the first one."""
    sales = old_sales(3)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, [mirror(sales[0], **changes), *(mirror(line) for line in sales[1:])])
    await reconcile(api, tenant, settlement_id)
    (found,) = await breaks(api, tenant, settlement_id)
    return settlement_id, sales, found


async def test_a_break_says_what_differs(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id, sales, found = await one_break(api, admin, tenant, amount=900, fee=29)
    assert (found["category"], found["ours"], found["theirs"], found["difference"]) == (
        "amount_mismatch",
        sales[0].amount,
        900,
        sales[0].amount - 900,
    )
    assert (found["fee_difference"], found["settlement_id"], found["run"]) == (sales[0].fee - 29, settlement_id, 1)
    assert (found["age_days"], found["owner"], found["resolution"]) == (0, "merchant_admin", None)


async def test_a_resolution_survives_runs_and_another_amount_does_not(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = old_sales(4)
    settlement_id = await closed_settlement(admin, tenant, sales)
    rest = [mirror(line) for line in sales[2:]]
    wrong = [mirror(sales[0], amount=900), mirror(sales[1], amount=800)]
    await upload(tenant, settlement_id, wrong + rest)
    await reconcile(api, tenant, settlement_id)
    first, second = sorted(await breaks(api, tenant, settlement_id), key=lambda one: one["theirs"])
    for found in (first, second)[:1]:
        assert (await resolve(api, tenant, found["id"], resolution="ignore", note="rounding")).status == 200
    # A corrected file supersedes the first: one difference is the same, one is another amount, one is new.
    corrected = [mirror(sales[0], amount=950), mirror(sales[1], amount=800), mirror(sales[2], fee=1), rest[1]]
    await upload(tenant, settlement_id, corrected)
    answer = await reconcile(api, tenant, settlement_id)
    assert (answer.body["run"], answer.body["open_breaks"]) == (2, 2)
    seen = {one["id"]: one for one in await breaks(api, tenant, settlement_id)}
    assert (seen[first["id"]]["resolution"], seen[first["id"]]["note"], seen[first["id"]]["run"]) == (
        "ignore",
        "rounding",
        2,
    )
    assert second["id"] not in seen  # 950 is another difference than 900: nobody has looked at it yet
    assert {one["category"] for one in seen.values() if one["resolution"] is None} == {
        "amount_mismatch",
        "fee_mismatch",
    }
    gone = await resolve(api, tenant, second["id"], resolution="ignore", note="late")
    assert (gone.status, gone.code) == (409, "INVALID_STATUS_TRANSITION")


async def test_a_corrected_file_without_the_break_reconciles(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id, sales, _ = await one_break(api, admin, tenant, amount=900)
    await upload(tenant, settlement_id, [mirror(line) for line in sales])
    assert (await reconcile(api, tenant, settlement_id)).body["status"] == "reconciled"
    assert await breaks(api, tenant, settlement_id) == []


async def test_runs_are_deterministic_but_for_their_number(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id, _, found = await one_break(api, admin, tenant, currency="USD")
    again = (await reconcile(api, tenant, settlement_id)).body
    runs = (await api.get(f"/settlements/{settlement_id}/runs", as_=api.signer.user(tenant, role="store_manager"))).body
    assert [run["run"] for run in runs["data"]] == [2, 1]
    assert runs["data"][0]["summary"] == runs["data"][1]["summary"] == again["summary"]
    (same,) = await breaks(api, tenant, settlement_id)
    assert {**same, "run": 1} == found


@pytest.mark.parametrize("changes", [{"amount": 900}, {"fee": 1}, {"is_settled": False}, {"currency": "USD"}])
async def test_an_adjustment_takes_our_books_to_theirs(
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
    """What corrections come to: in the lines of the store's settlements, and in the ledger."""
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
    """A settlement of four sales with two breaks (900 for the first, 800 for the second); the first one is resolved."""
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
async def test_what_was_booked_for_a_difference_that_a_corrected_file_takes_back_is_taken_back_too(
    api: Api, admin: Admin, tenant: Tenant, resolution: dict[str, Any]
) -> None:
    settlement_id, sales, first, second = await two_breaks(api, admin, tenant, **resolution)
    assert await booked(admin, tenant) == (-100, -100)
    await upload(tenant, settlement_id, [mirror(sales[0]), mirror(sales[1], amount=800), *map(mirror, sales[2:])])
    for _ in range(2):  # once and not with every run
        assert (await reconcile(api, tenant, settlement_id)).body["open_breaks"] == 1
        assert await booked(admin, tenant) == (0, 0)
    assert (await resolve(api, tenant, second["id"], resolution="adjust")).status == 200
    assert await booked(admin, tenant) == (-201, -201)
    assert first["reference"]


async def test_another_difference_is_booked_from_the_books_as_they_were(api: Api, admin: Admin, tenant: Tenant) -> None:
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


async def test_a_difference_that_comes_back_is_open_again_once_its_booking_was_taken_back(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    settlement_id, sales, first, _ = await two_breaks(api, admin, tenant, resolution="adjust")
    wrong = [mirror(sales[0], amount=900), mirror(sales[1], amount=800), *map(mirror, sales[2:])]
    await upload(tenant, settlement_id, [mirror(sales[0]), *wrong[1:]])
    await reconcile(api, tenant, settlement_id)
    await upload(tenant, settlement_id, wrong)
    assert (await reconcile(api, tenant, settlement_id)).body["open_breaks"] == 2
    again = {one["id"]: one for one in await breaks(api, tenant, settlement_id)}[first["id"]]
    assert (again["resolution"], again["reference"]) == (None, None)
    assert await booked(admin, tenant) == (0, 0)


async def test_two_breaks_that_are_one_are_linked(api: Api, admin: Admin, tenant: Tenant) -> None:
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


async def test_a_link_ends_with_the_break_it_was_to(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = old_sales(4)
    settlement_id = await closed_settlement(admin, tenant, sales)
    garbled = mirror(sales[0], our_reference="PAY-GARBLED", provider_reference="sbx_garbled")
    fee = mirror(sales[1], fee=1)
    await upload(tenant, settlement_id, [garbled, fee, *map(mirror, sales[2:])])
    await reconcile(api, tenant, settlement_id)
    found = {one["category"]: one for one in await breaks(api, tenant, settlement_id)}
    ours, theirs = found["missing_at_provider"], found["missing_internally"]
    assert (await resolve(api, tenant, ours["id"], resolution="link", reference=theirs["id"])).status == 200
    # The provider finds the sale, and the garbled line was another one after all: nobody has looked at that.
    await upload(tenant, settlement_id, [mirror(sales[0]), garbled, fee, *map(mirror, sales[2:])])
    assert (await reconcile(api, tenant, settlement_id)).body["open_breaks"] == 2
    still = {one["id"]: one for one in await breaks(api, tenant, settlement_id)}
    assert (still[theirs["id"]]["resolution"], still[theirs["id"]]["reference"]) == (None, None)


async def test_links_have_to_cancel_out(api: Api, admin: Admin, tenant: Tenant) -> None:
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
async def test_a_resolution_that_lacks_something_is_refused(
    api: Api, admin: Admin, tenant: Tenant, body: dict[str, Any], status: int, field: str
) -> None:
    _, _, found = await one_break(api, admin, tenant, amount=900)
    answer = await resolve(api, tenant, found["id"], **body)
    assert (answer.status, answer.details[0]["field"]) == (status, field)


async def test_what_differs_in_no_money_cannot_be_booked(api: Api, admin: Admin, tenant: Tenant) -> None:
    _, _, found = await one_break(api, admin, tenant, at=now() - timedelta(days=5))
    assert (found["category"], found["difference"]) == ("date_mismatch", 0)
    assert (await resolve(api, tenant, found["id"], resolution="adjust")).status == 422
    assert (await resolve(api, tenant, found["id"], resolution="ignore", note="their clock")).status == 200


async def test_only_a_merchant_admin_resolves_and_only_its_own(
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


async def test_breaks_are_paged_filtered_and_assigned(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = old_sales(9)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, [mirror(line, fee=7) for line in sales[:4]])
    await reconcile(api, tenant, settlement_id)
    manager = api.signer.user(tenant, role="store_manager")
    path, seen = f"/settlements/{settlement_id}/breaks?limit=4", list[str]()
    cursor: str | None = ""
    while cursor is not None:
        page = (await api.get(path + (f"&cursor={cursor}" if cursor else ""), as_=manager)).body
        seen += [one["id"] for one in page["data"]]
        cursor = page["next_cursor"]
    assert len(seen) == len(set(seen)) == 9
    assert len(await breaks(api, tenant, settlement_id, "?category=fee_mismatch")) == 4
    admin_token = api.signer.user(tenant, role="merchant_admin")
    assigned = await api.post(f"/breaks/{seen[0]}/assign", {"owner": "usr_tanaka"}, as_=admin_token)
    assert (assigned.status, assigned.body["owner"]) == (200, "usr_tanaka")


async def test_raw_sql_of_a_caller_sees_no_other_tenants_books(
    api: Api, admin: Admin, tenant: Tenant, make_tenant: MakeTenant, settings: Settings
) -> None:
    settlement_id, _, _ = await one_break(api, admin, tenant, amount=900)
    other = await make_tenant()
    url = settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url, options="-c role=mpac_caller") as connection:
        await connection.execute("SELECT set_config('mpac.scope', 'store', false)")
        await connection.execute("SELECT set_config('mpac.merchant_id', %s, false)", [other.merchant_id])
        await connection.execute("SELECT set_config('mpac.store_id', %s, false)", [other.store_id])
        for table in ("statements", "statement_chunks", "statement_lines", "reconciliation_runs", "breaks"):
            assert await (await connection.execute(f"SELECT FROM {table}")).fetchall() == [], table
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("DELETE FROM breaks WHERE settlement_id = %s", [settlement_id])


async def test_a_doubled_file_doubles_every_line(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = old_sales(10)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, [mirror(line) for line in sales] * 2)
    run = (await reconcile(api, tenant, settlement_id)).body
    counts = {name: part["count"] for name, part in run["summary"]["categories"].items() if part["count"]}
    assert counts == {"matched": 10, "duplicate_provider": 10}
    assert run["summary"]["difference"] == -sum(line.amount for line in sales)
    assert len({one["id"] for one in await breaks(api, tenant, settlement_id)}) == 10


async def test_a_file_in_another_currency_is_ten_breaks_and_no_sum(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = old_sales(10)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, [mirror(line, currency="USD") for line in sales])
    summary = (await reconcile(api, tenant, settlement_id)).body["summary"]
    ours = sum(line.amount for line in sales)
    assert summary["categories"]["currency_mismatch"]["count"] == 10
    assert (summary["theirs"]["amount"], summary["difference"]) == (0, ours)
    assert summary["theirs"]["other_currencies"] == {"USD": ours}
