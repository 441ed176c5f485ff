"""An uploaded statement is stored completely, or refused with the number of each bad line and not stored (F33)."""

import hashlib
import io
from typing import Any

import aiohttp
import psycopg
import pytest
import uuid_utils
from psycopg.rows import DictRow

from tests.conftest import MakeTenant, Serve
from tests.factories import Tenant
from tests.harness import Answer, Api
from tests.reconciliation_helpers import closed_settlement, some_sales
from tests.reference_matcher import Ours

HEADER = "kind,reference,provider_reference,amount,currency,fee,at"
Admin = psycopg.AsyncConnection[DictRow]


def sandbox_csv(lines: list[Ours]) -> str:
    """Return ``lines`` as a CSV file of the sandbox."""
    words = {"payment": "charge", "refund": "refund"}
    rows = [
        f"{words[line.kind]},{line.our_reference},{line.provider_reference},{abs(line.amount)},{line.currency},{line.fee},"
        f"{line.occurred_at.isoformat()}"
        for line in lines
    ]
    return "\n".join([HEADER, *rows]) + "\n"


async def post_csv(
    api: Api, tenant: Tenant, settlement_id: str, text: str | bytes, *, query: str = "provider=sandbox", **rest: Any
) -> Answer:
    body = text if isinstance(text, bytes) else text.encode()
    rest.setdefault("key", uuid_utils.uuid7().hex)
    path = f"/settlements/{settlement_id}/statements?{query}"
    return await api.post(path, body, as_=manager_of(api, tenant), headers={"Content-Type": "text/csv"}, **rest)


def manager_of(api: Api, tenant: Tenant) -> str:
    return api.signer.user(tenant, role="store_manager")


async def rows_kept(admin: Admin, settlement_id: str) -> tuple[int, int, int]:
    """Return the numbers of statements, lines and file chunks of a settlement."""
    found = await admin.execute(
        """SELECT (SELECT count(*) FROM statements WHERE settlement_id = %(id)s) AS statements,
                  (SELECT count(*) FROM statement_lines WHERE statement_id IN (
                      SELECT id FROM statements WHERE settlement_id = %(id)s)) AS lines,
                  (SELECT count(*) FROM statement_chunks WHERE statement_id IN (
                      SELECT id FROM statements WHERE settlement_id = %(id)s)) AS chunks""",
        {"id": settlement_id},
    )
    row = await found.fetchone()
    assert row is not None
    return row["statements"], row["lines"], row["chunks"]


async def test_a_file_is_stored_byte_for_byte_with_its_hash(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = some_sales(30)
    settlement_id = await closed_settlement(admin, tenant, sales)
    text = sandbox_csv(sales)
    answer = await post_csv(api, tenant, settlement_id, text)
    assert (answer.status, answer.body["line_count"]) == (201, 30)
    assert answer.body["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    pieces = await admin.execute(
        "SELECT data FROM statement_chunks WHERE statement_id = %s ORDER BY number", [answer.body["id"]]
    )
    assert b"".join([row["data"] async for row in pieces]) == text.encode()


async def test_the_same_file_uploaded_twice_is_the_same_statement(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = some_sales(5)
    settlement_id = await closed_settlement(admin, tenant, sales)
    first = await post_csv(api, tenant, settlement_id, sandbox_csv(sales))
    second = await post_csv(api, tenant, settlement_id, sandbox_csv(sales))
    assert (second.status, second.body) == (201, first.body)
    assert await rows_kept(admin, settlement_id) == (1, 5, 1)


async def test_the_same_file_with_another_mapping_is_another_statement(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    mapping = '{"columns":{"our_reference":"r","amount":"a"},"currency":"USD","amounts":"%s"}'
    seen = []
    for amounts in ("minor", "major", "major"):
        query = f"provider=external&mapping={mapping % amounts}"
        seen.append((await post_csv(api, tenant, settlement_id, "r,a\npay_1:1,1050\n", query=query)).body)
    assert [one["number"] for one in seen] == [1, 2, 2]
    assert len({one["sha256"] for one in seen}) == 1


async def test_an_idempotency_key_with_another_file_is_refused(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = some_sales(5)
    settlement_id = await closed_settlement(admin, tenant, sales)
    first = await post_csv(api, tenant, settlement_id, sandbox_csv(sales), key="k")
    again = await post_csv(api, tenant, settlement_id, sandbox_csv(sales), key="k")
    assert (again.raw, again.headers["Idempotent-Replayed"]) == (first.raw, "true")
    other = await post_csv(api, tenant, settlement_id, sandbox_csv(sales[:3]), key="k")
    assert (other.status, other.code) == (422, "IDEMPOTENCY_KEY_REUSED")
    missing = await post_csv(api, tenant, settlement_id, sandbox_csv(sales), key=None)
    assert (missing.status, missing.details[0]["field"]) == (400, "Idempotency-Key")


GOOD = "charge,pay_1:1,sbx_1,100,JPY,3,2026-11-23T03:00:00Z"
BAD_LINES = [
    ("charge,pay_1:1,sbx_1,1x0,JPY,3,2026-11-23T03:00:00Z", "amount"),
    ("charge,pay_1:1,sbx_1,-100,JPY,3,2026-11-23T03:00:00Z", "amount"),
    ("charge,pay_1:1,sbx_1,10.5,JPY,3,2026-11-23T03:00:00Z", "amount"),
    ("charge,pay_1:1,sbx_1,100,YEN,3,2026-11-23T03:00:00Z", "currency"),
    ("charge,pay_1:1,sbx_1,100,JPY,three,2026-11-23T03:00:00Z", "fee"),
    ("charge,pay_1:1,sbx_1,100,JPY,3,yesterday", "at"),
    ("charge,pay_1:1,sbx_1,100,JPY,3,2026-11-23T03:00:00", "at"),
    ("gift,pay_1:1,sbx_1,100,JPY,3,2026-11-23T03:00:00Z", "kind"),
    ("charge,,,100,JPY,3,2026-11-23T03:00:00Z", "our_reference"),
    ("charge,pay_1:1,sbx_1,100", "line"),
    ("charge,pay_1:1,4111 1111 1111 1111,100,JPY,3,2026-11-23T03:00:00Z", "provider_reference"),
]


@pytest.mark.parametrize(("bad", "field"), BAD_LINES)
async def test_a_bad_line_is_reported_by_number_and_nothing_is_stored(
    api: Api, admin: Admin, tenant: Tenant, bad: str, field: str
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    answer = await post_csv(api, tenant, settlement_id, "\n".join([HEADER, GOOD, bad, GOOD, ""]))
    assert (answer.status, answer.code) == (422, "VALIDATION_ERROR")
    assert [detail["field"] for detail in answer.details] == [f"lines.3.{field}"]
    assert b"4111" not in answer.raw
    assert await rows_kept(admin, settlement_id) == (0, 0, 0)


async def test_a_bad_line_after_thousands_of_good_ones_refuses_the_file(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = some_sales(7_000)
    settlement_id = await closed_settlement(admin, tenant, [])
    answer = await post_csv(api, tenant, settlement_id, sandbox_csv(sales) + "charge,x\n" * 30)
    assert answer.status == 422
    assert [detail["field"] for detail in answer.details] == [f"lines.{number}.line" for number in range(7_002, 7_022)]
    assert await rows_kept(admin, settlement_id) == (0, 0, 0)


async def test_a_file_cut_off_within_a_line_is_refused(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = some_sales(10)
    settlement_id = await closed_settlement(admin, tenant, sales)
    answer = await post_csv(api, tenant, settlement_id, sandbox_csv(sales)[:-60])
    assert (answer.status, answer.details[0]["field"]) == (422, "lines.11.line")
    assert await rows_kept(admin, settlement_id) == (0, 0, 0)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "file"),
        ("a,b,c\n1,2,3\n", "kind"),
        (HEADER.replace("fee", "Fee") + "\n", "fee"),
        (HEADER + "\n" + GOOD.replace("sbx_1", '"sbx_1') + "\n", "lines.2"),
        (b"\xff\xfe\x00", "lines.0"),
        (HEADER + "\nchar\0ge\n", "lines.2.line"),
    ],
)
async def test_a_file_of_another_format_is_refused(
    api: Api, admin: Admin, tenant: Tenant, text: str | bytes, field: str
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    answer = await post_csv(api, tenant, settlement_id, text)
    assert (answer.status, answer.details[0]["field"]) == (422, field)


async def test_a_declared_mapping_is_used_for_the_next_file(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = some_sales(1)
    settlement_id = await closed_settlement(admin, tenant, sales)
    mapping = (
        '{"columns":{"our_reference":"取引番号","amount":"金額","on":"日付"},"currency":"JPY","encoding":"shift_jis",'
        '"amounts":"major","signs":"signed"}'
    )
    text = f'取引番号,金額,日付,備考\n{sales[0].our_reference},"1,000",2026/11/23,渋谷店\n'
    declared = await post_csv(
        api, tenant, settlement_id, text.encode("shift_jis"), query=f"provider=external&mapping={mapping}"
    )
    assert (declared.status, declared.body["mapping"]["encoding"]) == (201, "shift_jis")
    later = await post_csv(
        api, tenant, settlement_id, text.replace("23", "24").encode("shift_jis"), query="provider=external"
    )
    assert (later.status, later.body["mapping"]) == (201, declared.body["mapping"])
    kept = await admin.execute(
        "SELECT amount, occurred_on::text AS day FROM statement_lines WHERE statement_id = %s", [later.body["id"]]
    )
    assert await kept.fetchone() == {"amount": 1_000, "day": "2026-11-24"}


@pytest.mark.parametrize(
    ("mapping", "field"),
    [
        ('{"columns":{"amount":"a"}}', "mapping"),
        ('{"columns":{"amount":"a","our_reference":"b","colour":"c"},"currency":"JPY"}', "mapping.columns"),
        ('{"columns":{"amount":"a","our_reference":"b"},"currency":"JPY","encoding":"zip"}', "mapping.encoding"),
        ("{", "mapping"),
    ],
)
async def test_a_contradictory_mapping_is_refused(
    api: Api, admin: Admin, tenant: Tenant, mapping: str, field: str
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    answer = await post_csv(api, tenant, settlement_id, "a,b\n", query=f"provider=sandbox&mapping={mapping}")
    assert (answer.status, answer.details[0]["field"]) == (400, field)


async def test_csv_form_and_json_uploads_store_the_same_lines(api: Api, admin: Admin, tenant: Tenant) -> None:
    sales = some_sales(3)
    settlement_id = await closed_settlement(admin, tenant, sales)
    names = HEADER.split(",")
    objects = [dict(zip(names, row.split(","), strict=True)) for row in sandbox_csv(sales).splitlines()[1:]]
    as_json = await api.post(
        f"/settlements/{settlement_id}/statements",
        {"provider": "sandbox", "lines": [{**one, "amount": int(one["amount"])} for one in objects]},
        as_=manager_of(api, tenant),
        key="json",
    )
    assert (as_json.status, as_json.body["line_count"], as_json.body["format"]) == (201, 3, "json_lines")
    form = aiohttp.FormData()
    form.add_field("provider", "sandbox")
    form.add_field("file", io.BytesIO(sandbox_csv(sales).encode()), filename="november.csv", content_type="text/csv")
    body = form()
    written = bytearray()

    class Writer:
        async def write(self, piece: bytes) -> None:
            written.extend(piece)

    await body.write(Writer())  # type: ignore[arg-type]
    as_form = await api.post(
        f"/settlements/{settlement_id}/statements",
        bytes(written),
        as_=manager_of(api, tenant),
        key="form",
        headers={"Content-Type": body.content_type},
    )
    assert (as_form.status, as_form.body["line_count"], as_form.body["format"]) == (201, 3, "csv")
    lines = await admin.execute(
        """SELECT statement_id, kind, our_reference, amount FROM statement_lines
           WHERE statement_id = ANY(%s) ORDER BY statement_id, line_number""",
        [[as_json.body["id"], as_form.body["id"]]],
    )
    rows = [tuple(row.values())[1:] async for row in lines]
    assert rows[:3] == rows[3:]


async def test_an_invalid_json_body_is_refused_with_the_place(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    path, manager = f"/settlements/{settlement_id}/statements", manager_of(api, tenant)
    broken = await api.post(path, b"{", as_=manager, key="1")
    assert (broken.status, broken.details[0]["field"]) == (400, "body")
    unknown = await api.post(path, {"provider": "paypal", "lines": [{}], "colour": 1}, as_=manager, key="2")
    assert unknown.status == 422
    assert {detail["field"] for detail in unknown.details} == {"provider", "colour"}
    card = await api.post(path, {"provider": "4111111111111111", "lines": [{"x": 1}]}, as_=manager, key="3")
    assert (card.status, card.details[0]["field"], b"4111" in card.raw) == (422, "provider", False)


async def test_only_the_upload_route_accepts_large_bodies(api: Api, serve: Serve, admin: Admin, tenant: Tenant) -> None:
    sales = some_sales(2_000)
    settlement_id = await closed_settlement(admin, tenant, sales)
    text = sandbox_csv(sales)
    assert len(text) > 2 * 65_536
    assert (await post_csv(api, tenant, settlement_id, text)).status == 201
    elsewhere = await api.post("/payments", b" " * 70_000, as_=tenant, key="k")
    assert (elsewhere.status, elsewhere.details[0]["field"]) == (400, "body")
    async with serve(max_statement_bytes=100_000) as small:
        refused = await post_csv(small, tenant, settlement_id, text + "\n")
        assert (refused.status, refused.details[0]["issue"]) == (400, "Must be at most 97 KiB")


async def test_uploads_below_store_manager_or_of_another_tenant_are_refused(
    api: Api, admin: Admin, tenant: Tenant, make_tenant: MakeTenant
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    path = f"/settlements/{settlement_id}/statements?provider=sandbox"
    headers = {"Content-Type": "text/csv"}
    assert (await api.post(path, b"x", key="k", headers=headers)).status == 401
    staff = api.signer.user(tenant, role="staff")
    assert (await api.post(path, b"x", as_=staff, key="k", headers=headers)).status == 403
    assert (await post_csv(api, await make_tenant(), settlement_id, HEADER + "\n")).status == 404
    assert (await post_csv(api, tenant, "stl_0", HEADER + "\n")).status == 404


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_uploads_of_other_content_types_are_refused(
    api: Api, admin: Admin, tenant: Tenant, content_type: str
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    answer = await api.post(
        f"/settlements/{settlement_id}/statements",
        b"x",
        as_=manager_of(api, tenant),
        key="k",
        headers={"Content-Type": content_type},
    )
    assert (answer.status, answer.details[0]["field"]) == (400, "Content-Type")
