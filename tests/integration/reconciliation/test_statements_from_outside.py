"""Uploaded statements are checked for card numbers, unknown values and ambiguous amounts."""

import hashlib
import json
from typing import Any

import psycopg
import pytest
import uuid_utils
from psycopg.rows import DictRow

from tests.factories import Tenant
from tests.harness import Answer, Api
from tests.integration.reconciliation.reconciliation_helpers import breaks, old_sales, reconcile
from tests.integration.reconciliation.test_statements_over_http import manager_of, post_csv, rows_kept
from tests.reconciliation_helpers import closed_settlement

Admin = psycopg.AsyncConnection[DictRow]
CARD = "4242424242424242"
WIDE = CARD.translate(str.maketrans("0123456789", "０１２３４５６７８９"))
PLAIN = {"columns": {"our_reference": "ref", "amount": "amt"}, "currency": "JPY"}


def external(mapping: Any = None) -> str:
    declared = f"&mapping={json.dumps(mapping)}" if mapping else ""
    return f"provider=external{declared}"


async def post_json(api: Api, tenant: Tenant, settlement_id: str, body: Any, *, key: str | None = None) -> Answer:
    path = f"/settlements/{settlement_id}/statements"
    return await api.post(path, body, as_=manager_of(api, tenant), key=key or uuid_utils.uuid7().hex)


async def stored_file(admin: Admin, statement_id: str) -> bytes:
    pieces = await admin.execute(
        "SELECT data FROM statement_chunks WHERE statement_id = %s ORDER BY number", [statement_id]
    )
    return b"".join([row["data"] async for row in pieces])


NUMBERS = [
    CARD,
    f"x{CARD}",
    f"{CARD}x",
    WIDE,
    "4242 4242-4242.4242",
    "4242\u200b4242\u200b4242\u200b4242",
    f"000{CARD}",
]


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_card_number_in_an_unmapped_column_is_masked_in_the_stored_copy(
    api: Api, admin: Admin, tenant: Tenant, number: str
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    text = f'ref,amt,note,"{number}"\r\na,1,"{number}, ""paid""",x\r\n\r\nb,2,"two\r\nlines",23456789012340005\r\n'
    answer = await post_csv(api, tenant, settlement_id, text, query=external(PLAIN))
    assert (answer.status, answer.body["line_count"]) == (201, 2)
    assert answer.body["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    masked = "".join("*" if character.isdigit() else character for character in number)
    expected = text.replace(f'"{number}"', masked, 1).replace(number, masked)
    assert (await stored_file(admin, answer.body["id"])).decode() == expected
    again = await post_csv(api, tenant, settlement_id, text, query=external(PLAIN))
    assert again.body == answer.body
    assert await rows_kept(admin, settlement_id) == (1, 2, 1)


async def test_columns_named_for_a_secret_are_masked_in_the_stored_copy(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    answer = await post_csv(api, tenant, settlement_id, "ref,amt,CVV2\na,1,123\n", query=external(PLAIN))
    assert (await stored_file(admin, answer.body["id"])).decode() == "ref,amt,CVV2\na,1,***\n"


async def test_card_numbers_in_lines_of_json_are_masked_in_the_stored_copy(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    lines = [
        {"ref": "a", "amt": 1, "n": int(CARD), "f": 1.5, CARD: {"deep": [WIDE, "ok"]}},
        {"ref": "b", "amt": 2, "cvv": 123, "shop": 23456789012340005},
    ]
    answer = await post_json(api, tenant, settlement_id, {"provider": "external", "mapping": PLAIN, "lines": lines})
    assert (answer.status, answer.body["line_count"]) == (201, 2)
    stored = [json.loads(line) for line in (await stored_file(admin, answer.body["id"])).splitlines()]
    assert stored == [
        {"ref": "a", "amt": "1", "n": 16 * "*", "f": "1.5", 16 * "*": {"deep": [16 * "*", "ok"]}},
        {"ref": "b", "amt": "2", "cvv": "***", "shop": "23456789012340005"},
    ]


MAPPINGS = [
    {**PLAIN, "columns": {"our_reference": f"x{CARD}", "amount": "amt"}},
    {**PLAIN, "columns": {"our_reference": "ref", "amount": "amt", CARD: "b"}},
    {**PLAIN, "kinds": {WIDE: "payment"}},
    {**PLAIN, "settled_words": ["ok", "4242 4242 4242 4242"]},
    {**PLAIN, "unsettled_words": [CARD]},
    {**PLAIN, "currency": CARD},
    {**PLAIN, "encoding": CARD},
    {**PLAIN, "colour": {"deep": [int(CARD)]}},
]


@pytest.mark.parametrize("mapping", MAPPINGS)
async def test_a_card_number_in_a_mapping_is_refused_and_not_repeated(
    api: Api, admin: Admin, tenant: Tenant, mapping: Any
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    in_query = await post_csv(api, tenant, settlement_id, f"x{CARD},amt\na,1\n", query=external(mapping))
    body = {"provider": "external", "mapping": mapping, "lines": [{"ref": "a", "amt": 1}]}
    in_body = await post_json(api, tenant, settlement_id, body)
    for answer in (in_query, in_body):
        assert (answer.status, answer.code) == (422, "VALIDATION_ERROR"), answer.raw
        assert "4242" not in answer.raw.decode()
    assert await rows_kept(admin, settlement_id) == (0, 0, 0)


async def test_a_card_number_as_key_of_an_upload_or_in_its_query_is_refused(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    for key in (CARD, f"x{CARD}", "4242-4242-4242-4242", f"till {CARD} 7"):
        answer = await post_csv(api, tenant, settlement_id, "ref,amt\na,1\n", query=external(PLAIN), key=key)
        assert (answer.status, answer.details[0]["field"]) == (422, "Idempotency-Key")
    for query in (f"provider={CARD}", f"provider=external&{CARD}=1", f"provider=external&colour=x{WIDE}"):
        answer = await post_csv(api, tenant, settlement_id, "ref,amt\na,1\n", query=query)
        assert (answer.status, "4242" in answer.raw.decode()) == (422, False)
    assert (await api.get(f"/payments?client_reference={CARD}", as_=tenant)).status == 422


async def test_a_status_that_the_mapping_does_not_know_refuses_the_file_by_name(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    sales = old_sales(2)
    settlement_id = await closed_settlement(admin, tenant, sales)
    mapping = {"columns": {"our_reference": "ref", "amount": "amt", "status": "st"}, "currency": "JPY"}
    rows = [f"{sale.our_reference},{sale.amount},settled" for sale in sales]
    text = "\n".join(["ref,amt,st", *rows, "PP-7788,9999,captured", "PP-7789,1,Captured", "PP-7790,1,held", ""])
    answer = await post_csv(api, tenant, settlement_id, text, query=external(mapping))
    assert answer.status == 422
    assert [(detail["field"], detail["issue"].split()[0]) for detail in answer.details] == [
        ("lines.4.status", '"captured"'),
        ("lines.6.status", '"held"'),
    ]
    assert await rows_kept(admin, settlement_id) == (0, 0, 0)
    declared = {**mapping, "settled_words": ["settled", "captured"], "unsettled_words": ["held"]}
    assert (await post_csv(api, tenant, settlement_id, text, query=external(declared))).status == 201
    run = await reconcile(api, tenant, settlement_id)
    assert run.body["summary"]["theirs"]["amount"] == sum(sale.amount for sale in sales) + 10_000
    found = {
        one["provider_reference"] or one["our_reference"]: one["category"]
        for one in await breaks(api, tenant, settlement_id)
    }
    assert found["PP-7788"] == found["PP-7789"] == "missing_internally"


@pytest.mark.parametrize("word", ["\u017fettled", "\u017fETTLED", "o\u212a", "O\u212a", "ﬆopped", "ＯＫ"])
async def test_a_value_that_only_resembles_a_declared_value_is_unknown(
    api: Api, admin: Admin, tenant: Tenant, word: str
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    words = {"settled_words": ["settled", "ok", "BEZAHLT", "ÜBERWIESEN"], "unsettled_words": ["stopped"]}
    mapping = {"columns": {"our_reference": "ref", "amount": "amt", "status": "st", "kind": "k"}, "currency": "JPY"}
    kinds = {"kinds": {"Sale": "payment", "settled": "payment", "ok": "payment", "stopped": "refund"}}
    known = "a,1,Settled,SALE\nb,2,OK,sale\nc,3,bezahlt,Sale\nd,4,überwiesen,sale\ne,5,Überwiesen,sale\n"
    declared = external({**mapping, **words, **kinds})
    for bad, field in ((f"f,6,{word},sale", "status"), (f"f,6,settled,{word}", "kind")):
        answer = await post_csv(api, tenant, settlement_id, f"ref,amt,st,k\n{known}{bad}\n", query=declared)
        assert (answer.status, [one["field"] for one in answer.details]) == (422, [f"lines.7.{field}"])
    answer = await post_csv(api, tenant, settlement_id, f"ref,amt,st,k\n{known}", query=declared)
    assert (answer.status, answer.body["line_count"]) == (201, 5)


async def test_every_unknown_value_of_a_long_file_is_reported_once(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    mapping = {"columns": {"our_reference": "ref", "amount": "amt", "kind": "k", "currency": "c"}}
    rows = [
        f"r{number},1,{'gift' if number % 2 else 'payment'},{'YEN' if number % 3 else 'JPY'}" for number in range(9_000)
    ]
    answer = await post_csv(api, tenant, settlement_id, "\n".join(["ref,amt,k,c", *rows, ""]), query=external(mapping))
    assert sorted(detail["issue"].split()[0] for detail in answer.details) == ['"YEN"', '"gift"']


@pytest.mark.parametrize(
    "change",
    [
        {"settled_words": ["a\x00"]},
        {"columns": {"our_reference": "a\nb", "amount": "amt"}},
        {"kinds": {"x" * 201: "payment"}},
    ]
    + [{"delimiter": mark} for mark in ("\n", '"', "1", " ", "、", "\x00")],
)
async def test_a_mapping_that_could_not_be_stored_is_refused(
    api: Api, admin: Admin, tenant: Tenant, change: dict[str, Any]
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    body = {"provider": "external", "mapping": {**PLAIN, **change}, "lines": [{"ref": "a", "amt": 1}]}
    answer = await post_json(api, tenant, settlement_id, body)
    assert (answer.status, answer.code) == (422, "VALIDATION_ERROR"), answer.raw


@pytest.mark.parametrize("mapping", ['{"columns":{"amount":"a","amount":"b"}}', '{"currency":NaN}', "[" * 5_000, "{"])
async def test_a_mapping_that_is_not_json_or_repeats_a_name_is_malformed(
    api: Api, admin: Admin, tenant: Tenant, mapping: str
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    answer = await post_csv(api, tenant, settlement_id, "a,b\n1,2\n", query=f"provider=external&mapping={mapping}")
    assert (answer.status, answer.details[0]["field"]) == (400, "mapping")


async def test_an_upload_with_an_outdated_stored_mapping_asks_for_a_new_one(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    first = await post_csv(api, tenant, settlement_id, "ref,amt\na,1\n", query=external(PLAIN))
    await admin.execute(
        """UPDATE statement_mappings SET mapping = mapping || '{"delimiter": "1"}' WHERE merchant_id = %s""",
        [tenant.merchant_id],
    )
    text = "ref,amt\nb,1\n"
    kept = await post_csv(api, tenant, settlement_id, text, query=external())
    assert (kept.status, kept.details[0]["field"]) == (422, "mapping")
    declared = await post_csv(api, tenant, settlement_id, text, query=external(PLAIN))
    assert (declared.status, first.status) == (201, 201)
    assert (await post_csv(api, tenant, settlement_id, text, query=external())).body == declared.body


MAJOR = {"columns": {"our_reference": "ref", "amount": "amt"}, "amounts": "major"}
WRITTEN = [
    ("JPY", "1.000", {}, None), ("EUR", "2.500", {}, None), ("EUR", "1,000", {}, None), ("KWD", "1,050", {}, None),
    ("JPY", "1.000", {"decimal_mark": ","}, 1000), ("EUR", "1.000", {"decimal_mark": ","}, 100_000),
    ("EUR", "2.500", {"decimal_mark": ","}, 250_000), ("JPY", "1,000", {}, 1000), ("RSD", "1050.25", {}, 105_025),
    ("RSD", "1.050,25", {"decimal_mark": ","}, 105_025), ("IQD", "1050.250", {}, 1_050_250), ("JPY", "1000.00", {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("currency", "text", "marks", "amount"), WRITTEN)
async def test_an_amount_is_read_as_declared_or_refused_by_name(
    api: Api, admin: Admin, tenant: Tenant, currency: str, text: str, marks: dict[str, str], amount: int | None
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    mapping = {**MAJOR, "currency": currency, **marks}
    answer = await post_csv(api, tenant, settlement_id, f'ref,amt\na,"{text}"\n', query=external(mapping))
    if amount is None:
        assert (answer.status, [one["field"] for one in answer.details]) == (422, ["lines.2.amount"])
        assert f'"{text}"' in answer.details[0]["issue"]
    else:
        assert answer.status == 201, answer.raw
        stored = await admin.execute("SELECT amount FROM statement_lines WHERE statement_id = %s", [answer.body["id"]])
        assert await stored.fetchone() == {"amount": amount}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "shift_jis", "cp932", "euc_jp"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_a_file_in_any_encoding_is_masked_in_place(
    api: Api, admin: Admin, tenant: Tenant, encoding: str, end: str
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    text = end.join(
        ["\ufeffref|amt|備考" if encoding == "utf-8" else "ref|amt|備考", f"a|1|渋谷{CARD}店", "b|2|新宿", ""]
    )
    mapping = {**PLAIN, "encoding": encoding, "delimiter": "|"}
    answer = await post_csv(api, tenant, settlement_id, text.encode(encoding), query=external(mapping))
    assert answer.status == 201, answer.raw
    assert await stored_file(admin, answer.body["id"]) == text.replace(CARD, 16 * "*").encode(encoding)
