"""Settlements over HTTP: roles, fields and refusals."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.conftest import MakeTenant
from tests.contract_schemas import fields
from tests.factories import Signer
from tests.harness import Api
from tests.integration.settlements.settlement_helpers import SettlementShop

FIELDS = {
    "id", "store_id", "currency", "business_date", "start_at", "end_at", "status", "totals", "breakdown", "late_count",
    "in_doubt", "cash_expected", "cash_actual", "cash_discrepancy", "note", "open_breaks", "closed_at", "reconciled_at",
    "reconciled_by",
}  # fmt: skip


@pytest.fixture
def manager(shop: SettlementShop, signer: Signer) -> str:
    """Return a token of the store's manager."""
    return signer.user(shop.tenant, role="store_manager")


async def test_a_day_is_sold_closed_counted_and_read_over_http(api: Api, shop: SettlementShop, manager: str) -> None:
    await shop.since()
    for amount in (1_000, 2_000, 3_000):
        await shop.sell(amount, cash=True)
    (listed,) = (await api.get("/settlements?status=open", as_=manager)).body["data"]
    assert set(listed) == set(fields("settlement"))
    assert listed["totals"] is None
    path = f"/settlements/{listed['id']}"
    so_far = (await api.get(path, as_=manager)).body
    assert (so_far["totals"]["gross"], so_far["cash_expected"]) == (6_000, 6_000)
    assert (await api.get(f"{path}/lines", as_=manager)).body["data"] == []

    closed = await api.post(f"{path}/close", as_=manager)
    assert (closed.status, closed.body["status"]) == (200, "closed")
    assert closed.body["totals"] == so_far["totals"]
    assert closed.body["in_doubt"] == {"count": 0, "amount": 0}
    again = await api.post(f"{path}/close", as_=manager)
    assert (again.status, again.code) == (409, "INVALID_STATUS_TRANSITION")
    assert "closed" in again.details[0]["issue"]

    first = (await api.get(f"{path}/lines?limit=2", as_=manager)).body
    rest = (await api.get(f"{path}/lines?limit=2&cursor={first['next_cursor']}", as_=manager)).body
    seen = [line["entity_id"] for page in (first, rest) for line in page["data"]]
    assert rest["next_cursor"] is None
    assert len(seen) == len(set(seen)) == 3

    refused = await api.post(f"{path}/cash-count", {"cash_actual": 5_500}, as_=manager)
    assert (refused.status, refused.code, refused.details[0]["field"]) == (422, "VALIDATION_ERROR", "note")
    counted = await api.post(f"{path}/cash-count", {"cash_actual": 5_500, "note": "short"}, as_=manager)
    assert (counted.status, counted.body["cash_discrepancy"], counted.body["note"]) == (200, -500, "short")
    day = closed.body["business_date"]
    on_day = (await api.get(f"/settlements?date={day}&store_id={shop.tenant.store_id}", as_=manager)).body["data"]
    assert [row["status"] for row in on_day] == ["open", "closed"]


async def test_the_open_settlement_is_not_counted_over_http(api: Api, shop: SettlementShop, manager: str) -> None:
    await shop.since()
    path = f"/settlements/{(await shop.running())['id']}/cash-count"
    refused = await api.post(path, {"cash_actual": 0}, as_=manager)
    assert (refused.status, refused.code) == (409, "INVALID_STATUS_TRANSITION")


@pytest.mark.parametrize("role", ["staff", "device"])
async def test_staff_and_terminals_may_not_close_or_count(
    api: Api, shop: SettlementShop, signer: Signer, role: str
) -> None:
    await shop.since()
    token = signer.device(shop.tenant) if role == "device" else signer.user(shop.tenant, role=role)
    settlement_id = (await shop.running())["id"]
    for path in ("/settlements", f"/settlements/{settlement_id}", f"/settlements/{settlement_id}/lines"):
        assert (await api.get(path, as_=token)).status == 403
    assert (await api.post(f"/settlements/{settlement_id}/close", as_=token)).status == 403


async def test_a_settlement_of_another_tenant_answers_404(
    api: Api, shop: SettlementShop, make_tenant: MakeTenant, signer: Signer
) -> None:
    await shop.since()
    settlement_id = (await shop.running())["id"]
    other = signer.user(await make_tenant(), role="psp_admin")
    assert (await api.get("/settlements", as_=other)).body["data"] == []
    for path in (f"/settlements/{settlement_id}", f"/settlements/{settlement_id}/lines"):
        assert (await api.get(path, as_=other)).status == 404
    assert (await api.post(f"/settlements/{settlement_id}/close", as_=other)).status == 404
    body = {"cash_actual": 0}
    assert (await api.post(f"/settlements/{settlement_id}/cash-count", body, as_=other)).status == 404
    night = {"business_date": "2026-01-01", "ends_at_local": "2026-01-02T03:00"}
    path = f"/stores/{shop.tenant.store_id}/settlement-overrides"
    assert (await api.post(path, night, as_=other)).status == 404
    assert (await shop.running())["status"] == "open"


async def test_an_override_over_http(api: Api, shop: SettlementShop, manager: str) -> None:
    await shop.since()
    running = await shop.running()
    night = running["end_at"].astimezone(ZoneInfo("Asia/Tokyo"))
    path = f"/stores/{shop.tenant.store_id}/settlement-overrides"
    day = running["business_date"]
    wanted = {"business_date": f"{day}", "ends_at_local": f"{night + timedelta(hours=3):%Y-%m-%dT%H:%M}"}
    written = await api.post(path, wanted, as_=manager)
    assert (written.status, written.body["business_date"]) == (201, f"{day}")
    assert (await shop.running())["end_at"] == running["end_at"] + timedelta(hours=3)
    for field, wrong in (
        ("ends_at_local", f"{night - timedelta(days=2):%Y-%m-%dT%H:%M}"),
        ("ends_at_local", f"{night + timedelta(days=1):%Y-%m-%dT%H:%M}"),
        ("business_date", f"{day - timedelta(days=1)}"),
        ("business_date", "9999-12-31"),
        ("business_date", "2026-02-30"),
        ("ends_at_local", "tonight"),
    ):
        refused = await api.post(path, {**wanted, field: wrong}, as_=manager)
        assert refused.status == 422, (field, wrong)
    assert (await shop.running())["end_at"] == running["end_at"] + timedelta(hours=3)
