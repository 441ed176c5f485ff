"""A month leaves the live tables, and nothing that anybody reads becomes untrue."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mpac.audit.balance_audit import audit_balances
from mpac.audit.net_audit import audit_net
from mpac.audit.payment_audit import audit_payments
from tests.factories import new_tenant
from tests.harness import Answer
from tests.integration.archive.archive_helpers import archive, broken_rules, live_payments, problems, restore, rows
from tests.integration.archive.conftest import OldShop
from tests.reference_matcher import Theirs
from workflows.archive.archive import WrongMonth


async def test_a_month_leaves_the_live_tables_and_the_auditors_find_nothing(old: OldShop, tmp_path: Path) -> None:
    assert await problems(old) == []
    archive(old, tmp_path)
    assert await live_payments(old) == 0
    assert await problems(old) == []
    log = await rows(old, "SELECT event, by, details->'rows'->>'payments' AS payments FROM archive_log ORDER BY number")
    assert [tuple(row.values()) for row in log] == [("freeze", "a test", None), ("archive", "a test", "5")]


async def test_sales_after_the_archive_are_processed_as_before(old: OldShop, tmp_path: Path) -> None:
    archive(old, tmp_path)
    sold = await old.shop.sell(700, fee=20)
    refund = await old.shop.make_refund(sold, 100)
    assert (await old.api.get(f"/refunds/{refund}", as_=old.tenant)).body["status"] == "completed"
    assert await live_payments(old) == 1
    assert await problems(old) == []


async def balances(old: OldShop) -> dict[str, int]:
    admin = old.api.signer.user(old.tenant, role="merchant_admin")
    answer = await old.api.get("/ledger/accounts", as_=admin)
    assert answer.status == 200, answer.body
    return {row["id"]: row["balance"] for row in answer.body["data"]}


async def test_balances_of_accounts_and_the_settlement_stay_as_they_were(old: OldShop, tmp_path: Path) -> None:
    manager = old.api.signer.user(old.tenant, role="store_manager")

    async def shown() -> list[Any]:
        paths = (f"/settlements/{old.settlement}", f"/settlements/{old.settlement}/lines", f"/refunds/{old.refund}")
        return [(await old.api.get(path, as_=manager)).body for path in paths]

    before = await balances(old), await shown()
    assert any(before[0].values())
    archive(old, tmp_path)
    assert (await balances(old), await shown()) == before


@pytest.mark.parametrize("path", ["", "?wait=1", "/events", "/refunds"])
async def test_a_read_of_an_archived_payment_says_when_it_was_archived(old: OldShop, tmp_path: Path, path: str) -> None:
    archive(old, tmp_path)
    answer = await old.api.get(f"/payments/{old.sold}{path}", as_=old.tenant)
    assert (answer.status, answer.code) == (404, "RESOURCE_NOT_FOUND")
    assert "were archived on" in answer.body["error"]["message"]


async def test_an_archived_payment_is_neither_refunded_nor_cancelled(old: OldShop, tmp_path: Path) -> None:
    archive(old, tmp_path)
    body = {"amount": 100, "reason": "cold", "staff_code": "s-7"}
    refused = [
        await old.api.post(f"/payments/{old.sold}/refund", body, as_=old.tenant, key="refund"),
        await old.api.post(f"/payments/{old.sold}/cancel", {}, as_=old.tenant),
    ]
    assert [(answer.status, "were archived on" in answer.body["error"]["message"]) for answer in refused] == [
        (404, True)
    ] * 2
    assert await rows(old, "SELECT id FROM refunds WHERE payment_id = %s", old.sold) == []


async def test_the_answer_is_the_same_for_other_tenants_and_ids_that_never_existed(
    old: OldShop, tmp_path: Path
) -> None:
    archive(old, tmp_path)
    other = await new_tenant(old.admin)

    def said(answer: Answer) -> tuple[int, str]:
        return answer.status, answer.body["error"]["message"]

    own = said(await old.api.get(f"/payments/{old.sold}", as_=old.tenant))
    assert said(await old.api.get(f"/payments/{old.sold}", as_=other)) == own
    assert said(await old.api.get(f"/payments/{old.sold[:-4]}0000", as_=other)) == own
    later = await old.shop.sell(700)
    assert "archived" not in said(await old.api.get(f"/payments/{later}", as_=other))[1]


async def test_the_client_reference_of_an_archived_payment_stays_taken_and_names_it(
    old: OldShop, tmp_path: Path
) -> None:
    archive(old, tmp_path)
    answer = await old.api.pay(old.tenant, client_reference="till-1")
    assert (answer.status, answer.code) == (409, "DUPLICATE_RESOURCE")
    assert answer.details[0]["issue"] == f"Already used by {old.sold}; read it with GET /payments/{old.sold}"
    named = await old.api.get(f"/payments/{old.sold}", as_=old.tenant)
    assert (named.status, "were archived on" in named.body["error"]["message"]) == (404, True)
    assert (await old.api.get("/payments?client_reference=till-1", as_=old.tenant)).body["data"] == []


async def test_an_order_whose_payment_was_archived_cannot_be_cancelled(old: OldShop, tmp_path: Path) -> None:
    manager = old.api.signer.user(old.tenant, role="store_manager")
    before = await old.api.post(f"/orders/{old.order}/cancel", {"reason": "x"}, as_=manager)
    archive(old, tmp_path)
    after = await old.api.post(f"/orders/{old.order}/cancel", {"reason": "x"}, as_=manager)
    assert (after.status, after.body["error"]["details"]) == (before.status, before.body["error"]["details"])
    assert after.status == 409
    done = await old.api.post(f"/orders/{old.order}/complete", {}, as_=old.tenant)
    assert done.status == 200, done.body


@pytest.mark.parametrize("quotes", ["ours", "theirs"])
async def test_a_late_line_about_an_archived_payment_cannot_be_booked_a_second_time(
    old: OldShop, tmp_path: Path, quotes: str
) -> None:
    (line,) = [line for line in (await old.shop.lines(old.settlement)).values() if line["entity_id"] == old.sold]
    archive(old, tmp_path)
    await old.shop.sell(700)
    ours = line["our_reference"] if quotes == "ours" else None
    late = Theirs("payment", ours, line["provider_reference"], line["amount"], line["fee"])
    settlement = await old.office.close(more=[late])
    await old.office.run(settlement)
    (found,) = await old.office.breaks(settlement)
    assert found["category"] == "date_mismatch"
    refused = await old.office.resolve(found["id"], resolution="adjust")
    assert refused.status == 409
    assert f"{old.sold}, which is completed and in our books ({old.settlement}, archived)" in str(refused.body)
    linked = await old.office.resolve(found["id"], resolution="link", reference=old.sold, note="a late line")
    assert linked.status == 200, linked.body
    assert await old.office.status(settlement) == "reconciled"
    assert await problems(old) == []


async def test_the_auditors_of_the_provider_know_archived_payments(old: OldShop, tmp_path: Path) -> None:
    references = await rows(old, "SELECT our_reference, amount, fee FROM settlement_lines WHERE provider = 'sandbox'")
    moved = [
        {
            "kind": "refund" if row["amount"] < 0 else "charge",
            "reference": row["our_reference"],
            "payment_id": old.refunded if row["amount"] < 0 else row["our_reference"].split(":")[0],
            "amount": abs(row["amount"]),
            "fee": row["fee"],
            "currency": "JPY",
        }
        for row in references
    ]
    tried = {"reference": f"{old.failed}:1", "payment_id": old.failed, "amount": 1_000, "currency": "JPY"}
    moved += [{**tried, "kind": "charge", "fee": 30}, {**tried, "kind": "reversal", "fee": -30}]

    async def page(_request: web.Request) -> web.Response:
        return web.json_response({"data": moved, "next": None})

    app = web.Application()
    app.router.add_get("/control/ledger", page)
    async with TestServer(app) as server:
        where = {"database_url": old.url, "sandbox_url": str(server.make_url("/"))}

        async def found() -> list[Any]:
            return [
                *(await audit_payments(**where)).broken,
                *(await audit_net(**where)).differences,
                *(await audit_balances(**where)).differences,
            ]

        assert await found() == []
        archive(old, tmp_path)
        assert await found() == []
        moved.append({**moved[0], "reference": f"{old.failed}:1", "payment_id": old.failed})
        assert any(getattr(one, "payment_id", "") == old.failed for one in await found())
        moved[-1] = {**moved[0], "amount": 1}
        assert len(await found()) >= 3


async def test_a_restored_month_is_as_it_was(old: OldShop, tmp_path: Path) -> None:
    tables = ("payments", "payment_history", "payment_attempts", "ledger_journals", "ledger_entries")

    async def contents() -> list[Any]:
        return [await rows(old, f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables]

    before = await contents()
    archive(old, tmp_path)
    restore(old)
    assert await contents() == before
    assert await problems(old) == []
    assert await rows(old, "SELECT * FROM carried_balances UNION ALL SELECT * FROM carried_balances") == []
    refund = await old.shop.make_refund(old.sold, 100)
    assert (await old.api.get(f"/refunds/{refund}", as_=old.tenant)).body["status"] == "completed"
    assert (await old.api.get(f"/payments/{old.sold}", as_=old.tenant)).body["status"] == "refunded"
    left = await rows(old, "SELECT tgname AS name FROM pg_trigger UNION ALL SELECT conname FROM pg_constraint")
    assert not [row for row in left if row["name"].startswith(("month_is_frozen", "month_only"))]


async def test_a_month_is_archived_and_restored_twice(old: OldShop, tmp_path: Path) -> None:
    for _ in range(2):
        archive(old, tmp_path)
        assert await problems(old) == []
        restore(old)
    assert await broken_rules(old) == {}


async def test_a_month_of_an_older_schema_is_not_attached_and_says_what_is_missing(
    old: OldShop, tmp_path: Path
) -> None:
    archive(old, tmp_path)
    await old.admin.execute("ALTER TABLE payments ADD COLUMN colour text")
    with pytest.raises(WrongMonth, match=r'was archived \(.*missing column "colour"\): add that first'):
        restore(old)
    assert await live_payments(old) == 0
    await old.admin.execute(f"ALTER TABLE archive.payments_{old.month} ADD COLUMN colour text".encode())
    restore(old)
    assert await live_payments(old) == 5
