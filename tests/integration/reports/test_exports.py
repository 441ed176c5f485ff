"""Exports contain every line and break and are streamed; the printable report has all figures, in Japanese on any machine."""

import csv
import io
import time
import zlib
from typing import Any

import orjson
import psycopg
import pytest
from fontTools.ttLib import TTFont
from psycopg.rows import DictRow

from tests.conftest import MakeTenant
from tests.factories import Tenant
from tests.harness import Answer, Api
from tests.reconciliation_helpers import closed_settlement, mirror, open_settlement, some_sales, upload
from tests.reconciliation_helpers import manager as manager_of
from workflows.reports import export
from workflows.reports.export import PAGE
from workflows.reports.font_subset import subset_font

Admin = psycopg.AsyncConnection[DictRow]
NOTE = '=HYPERLINK("<i>")'
STORE = "カフェ東京 渋谷店（髙﨑）<b>&"


async def get(api: Api, tenant: Tenant, path: str, **headers: str) -> Answer:
    manager = api.signer.user(tenant, role="store_manager")
    return await api.get(f"/settlements/{path}", as_=manager, headers=headers)


async def settlement_with_breaks(api: Api, admin: Admin, tenant: Tenant, *, count: int = 10) -> str:
    """Create and reconcile a settlement of ``count`` sales, and return its id.

    Two sales differ, and one break has a note that a spreadsheet would run as a formula.
    """
    await admin.execute("UPDATE stores SET name = %s WHERE id = %s", [STORE, tenant.store_id])
    sales = some_sales(count)
    settlement_id = await closed_settlement(admin, tenant, sales)
    theirs = [mirror(sales[0], amount=1), mirror(sales[1], currency="USD"), *(mirror(line) for line in sales[2:])]
    await upload(tenant, settlement_id, theirs)
    manager, merchant_admin = (api.signer.user(tenant, role=role) for role in ("store_manager", "merchant_admin"))
    await api.post(f"/settlements/{settlement_id}/reconcile", as_=manager)
    found = (await api.get(f"/settlements/{settlement_id}/breaks", as_=manager)).body["data"]
    body = {"resolution": "ignore", "note": NOTE}
    await api.post(f"/breaks/{found[0]['id']}/resolve", body, as_=merchant_admin)
    return settlement_id


def rows_of(answer: Answer) -> list[dict[str, str]]:
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    return list(csv.DictReader(io.StringIO(answer.raw.decode())))


@pytest.mark.parametrize("count", [0, 10, PAGE, PAGE + 1])
async def test_lines_are_csv_if_the_accept_header_asks_for_it(
    api: Api, admin: Admin, tenant: Tenant, count: int
) -> None:
    sales = some_sales(count)
    settlement_id = await closed_settlement(admin, tenant, sales)
    rows = rows_of(await get(api, tenant, f"{settlement_id}/lines", Accept="text/csv"))
    assert {(row["entity_id"], int(row["amount"]), int(row["fee"])) for row in rows} == {
        (line.entity_id, line.amount, line.fee) for line in sales
    }
    assert len(rows) == count
    assert (await get(api, tenant, f"{settlement_id}/lines")).body["data"] is not None


async def test_the_whole_settlement_as_csv_and_as_json(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = await settlement_with_breaks(api, admin, tenant)
    rows = rows_of(await get(api, tenant, f"{settlement_id}/export.csv"))
    assert [row["record"] for row in rows] == ["line"] * 10 + ["break"] * 2
    body = (await get(api, tenant, f"{settlement_id}/export.json")).body
    assert body["settlement"] == (await get(api, tenant, settlement_id)).body
    assert len(body["lines"]) == 10
    assert {one["category"] for one in body["breaks"]} == {"amount_mismatch", "currency_mismatch"}
    assert {row["difference"] for row in rows[10:]} == {str(one["difference"]) for one in body["breaks"]}
    assert sum(line["amount"] for line in body["lines"]) == sum(int(row["amount"]) for row in rows[:10])


async def test_an_export_has_the_breaks_of_one_run_despite_a_concurrent_run(
    api: Api, admin: Admin, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE", 1)
    sales = some_sales(4)
    settlement_id = await closed_settlement(admin, tenant, sales)
    manager = api.signer.user(tenant, role="store_manager")
    await upload(tenant, settlement_id, [mirror(line, amount=1) for line in sales[:3]] + [mirror(sales[3])])
    await api.post(f"/settlements/{settlement_id}/reconcile", as_=manager)
    seen = (await api.get(f"/settlements/{settlement_id}/breaks", as_=manager)).body["data"]
    pieces = export.export_json(settlement_id, caller=manager_of(tenant))
    whole = b""
    while not whole.endswith(b'"breaks":['):
        whole += await anext(pieces)
    whole += await anext(pieces)
    # A corrected statement: the first break is gone, two are found again, and one is new.
    await upload(tenant, settlement_id, [mirror(sales[0]), *(mirror(line, amount=1) for line in sales[1:])])
    await api.post(f"/settlements/{settlement_id}/reconcile", as_=manager)
    async for piece in pieces:
        whole += piece
    assert {one["entity_id"] for one in orjson.loads(whole)["breaks"]} == {line.entity_id for line in sales[:3]}
    assert len(seen) == 3


async def test_a_formula_in_an_exported_text_is_escaped(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = await settlement_with_breaks(api, admin, tenant)
    rows = rows_of(await get(api, tenant, f"{settlement_id}/export.csv"))
    assert [row["note"] for row in rows if row["note"]] == ["'" + NOTE]
    assert all(not row["amount"].startswith("'") for row in rows)  # negative numbers remain numbers


async def test_the_html_report_has_all_figures_and_escapes_text(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = await settlement_with_breaks(api, admin, tenant)
    answer = await get(api, tenant, f"{settlement_id}/report")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    page = answer.raw.decode()
    gross = sum(line.amount for line in some_sales(10) if line.kind == "payment")
    assert "カフェ東京 渋谷店（髙﨑）&lt;b&gt;&amp;" in page
    assert "<b>" not in page
    assert "<i>" not in page
    for text in (
        "精算報告書",
        f"￥{gross:,}",
        "金額相違",
        "通貨相違",
        "対応不要",
        "=HYPERLINK(&quot;&lt;i&gt;&quot;)",
        "Asia/Tokyo",
        settlement_id,
    ):
        assert text in page
    english = (await get(api, tenant, f"{settlement_id}/report?lang=en")).raw.decode()
    assert "Settlement report" in english
    assert f"¥{gross:,}" in english


async def test_a_report_has_times_in_the_stores_time_zone(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = await closed_settlement(admin, tenant, some_sales(1))
    settlement = (await get(api, tenant, settlement_id)).body
    found = await admin.execute(
        "SELECT to_char(closed_at AT TIME ZONE 'Asia/Tokyo', 'YYYY/MM/DD FMHH24:MI:SS') AS at FROM settlements WHERE id = %s",
        [settlement_id],
    )
    row = await found.fetchone()
    assert row is not None
    assert settlement["time_zone"] == "Asia/Tokyo"
    assert row["at"] in (await get(api, tenant, f"{settlement_id}/report")).raw.decode()


@pytest.mark.parametrize(
    ("currency", "amount", "text"), [("USD", 123_456, "$1,234.56"), ("KWD", 1_234_567, "1,234.567")]
)
async def test_report_amounts_have_the_format_of_their_currency(
    api: Api, admin: Admin, tenant: Tenant, currency: str, amount: int, text: str
) -> None:
    await admin.execute("UPDATE stores SET currency = %s WHERE id = %s", [currency, tenant.store_id])
    sale = some_sales(1)[0]
    line = type(sale)(
        "payment", sale.entity_id, sale.our_reference, None, amount, 0, sale.occurred_at, sale.business_date, currency
    )
    settlement_id = await closed_settlement(admin, tenant, [line])
    assert text in (await get(api, tenant, f"{settlement_id}/report")).raw.decode()  # English, as it is not yen


async def test_the_pdf_report_embeds_its_font(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = await settlement_with_breaks(api, admin, tenant)
    answer = await get(api, tenant, f"{settlement_id}/report.pdf")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/pdf")
    assert answer.raw.startswith(b"%PDF-")
    fonts = [cff for cff in streams(answer.raw) if cff.startswith(b"\x01\x00") and b"NotoSansCJK" in cff[:200]]
    assert len(fonts) == 1
    assert b"/FontFile3" in answer.raw
    assert len(answer.raw) < 200_000


def streams(pdf: bytes) -> list[bytes]:
    """Return the uncompressed streams of a PDF."""
    found = []
    for part in pdf.split(b"stream\n")[1:]:
        try:
            found.append(zlib.decompressobj().decompress(part))
        except zlib.error:
            found.append(part)
    return found


def test_the_reduced_font_has_only_the_characters_of_the_page() -> None:
    font = TTFont(io.BytesIO(subset_font("カフェ髙﨑𠮷￥12")))
    assert {ord(letter) for letter in "カフェ髙﨑𠮷￥12"} <= set(font.getBestCmap())
    assert len(font.getGlyphOrder()) < 30


async def test_an_open_settlement_is_not_reported(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = (await open_settlement(admin, tenant))["id"]
    for path in ("report", "report.pdf"):
        answer = await get(api, tenant, f"{settlement_id}/{path}")
        assert (answer.status, answer.code) == (409, "INVALID_STATUS_TRANSITION")


PATHS = ("lines", "export.csv", "export.json", "report", "report.pdf")


@pytest.mark.parametrize("path", PATHS)
async def test_exports_are_for_managers_of_the_store(
    api: Api, admin: Admin, tenant: Tenant, make_tenant: MakeTenant, path: str
) -> None:
    settlement_id = await closed_settlement(admin, tenant, some_sales(1))
    headers: dict[str, Any] = {"Accept": "text/csv"}
    assert (await api.get(f"/settlements/{settlement_id}/{path}", headers=headers)).status == 401
    staff = api.signer.user(tenant, role="staff")
    assert (await api.get(f"/settlements/{settlement_id}/{path}", as_=staff, headers=headers)).status == 403
    other = await make_tenant()
    answer = await get(api, other, f"{settlement_id}/{path}", **headers)
    assert (answer.status, answer.code) == (404, "RESOURCE_NOT_FOUND")


async def test_an_unknown_report_language_is_refused(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    answer = await get(api, tenant, f"{settlement_id}/report?lang=fr")
    assert (answer.status, answer.details[0]["field"]) == (400, "lang")


@pytest.mark.long
async def test_a_hundred_thousand_lines_are_streamed(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = await closed_settlement(admin, tenant, some_sales(100_000))
    started = time.perf_counter()
    rows = (await get(api, tenant, f"{settlement_id}/export.csv")).raw.count(b"\r\n")
    assert rows == 100_001
    assert time.perf_counter() - started < 60
