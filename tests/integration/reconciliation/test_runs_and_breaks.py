"""Runs over HTTP are numbered, and their breaks keep resolutions, until nothing is open (F33)."""

import psycopg
import pytest

from tests.conftest import MakeTenant, Serve
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
from tests.reconciliation_helpers import closed_settlement, mirror, open_settlement, some_sales, upload
from workflows.errors import InvalidStatusTransition
from workflows.reconciliation.classify import Category
from workflows.reconciliation.reconcile import reconcile_settlement
from workflows.settings import Settings
from workflows.tenants.actor import Actor


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


async def test_a_settlement_is_not_signed_off_while_its_provider_does_not_answer(
    serve: Serve, admin: Admin, tenant: Tenant
) -> None:
    settlement_id = await closed_settlement(
        admin, tenant, []
    )  # the provider moved nothing by our books, but maybe by its own
    async with serve(sandbox_url="http://127.0.0.1:1") as api:
        answer = await reconcile(api, tenant, settlement_id)
        assert (answer.status, answer.body["run"], answer.body["status"]) == (200, 1, "closed")
        assert [one["provider"] for one in answer.body["fetched"] if one["trouble"]] == ["sandbox"]
        await upload(tenant, settlement_id, [])
        assert (await reconcile(api, tenant, settlement_id)).body["status"] == "reconciled"


async def test_an_open_settlement_is_not_reconciled(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = (await open_settlement(admin, tenant))["id"]
    assert (await reconcile(api, tenant, settlement_id)).status == 409


async def test_a_worker_does_not_compare_a_settlement_that_is_not_closed(
    admin: Admin, tenant: Tenant, settings: Settings
) -> None:
    settlement = await open_settlement(admin, tenant)
    with pytest.raises(InvalidStatusTransition):
        await reconcile_settlement(settlement["id"], actor=Actor(worker="worker-of-the-test"), settings=settings)


async def test_a_missing_statement_is_expected_first_and_missing_later(api: Api, admin: Admin, tenant: Tenant) -> None:
    fresh, old = some_sales(3), old_sales(2)
    settlement_id = await closed_settlement(admin, tenant, fresh + old)
    answer = await reconcile(api, tenant, settlement_id)
    counts = {name: part["count"] for name, part in answer.body["summary"]["categories"].items() if part["count"]}
    assert counts == {"expected": 3, "missing_at_provider": 2}
    assert answer.body["status"] == "closed"
    assert {one["category"] for one in await breaks(api, tenant, settlement_id)} == {"missing_at_provider"}


async def test_a_settlement_with_expected_lines_accepts_another_statement(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    sales = some_sales(3)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, [mirror(line) for line in sales[:2]])
    answer = await reconcile(api, tenant, settlement_id)
    assert (answer.body["status"], answer.body["open_breaks"]) == ("closed", 0)


async def test_a_break_has_both_lines_and_their_difference(api: Api, admin: Admin, tenant: Tenant) -> None:
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
    # A corrected file supersedes the first: one difference is unchanged, one has another amount, and one is new.
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
    assert second["id"] not in seen  # 950 is another difference than 900, and nobody has reviewed it
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


async def test_raw_sql_with_a_callers_rights_sees_no_other_tenants_rows(
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
