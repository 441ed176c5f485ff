"""JSON statements keep digits as text, and no line causes an internal error."""

import json

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.factories import Tenant
from tests.harness import Api
from tests.integration.reconciliation.test_statements_from_outside import PLAIN, external, post_json
from tests.integration.reconciliation.test_statements_over_http import manager_of, rows_kept
from tests.reconciliation_helpers import closed_settlement

Admin = psycopg.AsyncConnection[DictRow]


async def references(admin: Admin, statement_id: str) -> list[str]:
    rows = await admin.execute(
        "SELECT our_reference FROM statement_lines WHERE statement_id = %s ORDER BY line_number", [statement_id]
    )
    return [row["our_reference"] async for row in rows]


LONG = "74537604221431023456789"


async def test_digits_are_stored_as_they_are_written(api: Api, admin: Admin, tenant: Tenant) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    lines = f'{{"ref": {LONG}, "amt": 1}}\n{{"ref": 1.10, "amt": 2}}\n{{"ref": 7e22, "amt": 3}}\n{{"ref": true, "amt": 4}}\n'
    path, as_ = f"/settlements/{settlement_id}/statements?{external(PLAIN)}", manager_of(api, tenant)
    streamed = await api.post(path, lines.encode(), as_=as_, key="1", headers={"Content-Type": "application/x-ndjson"})
    assert streamed.status == 201, streamed.raw
    expected = [LONG, "1.10", "7e22", "true"]
    assert await references(admin, streamed.body["id"]) == expected
    body = f'{{"provider": "external", "lines": [{",".join(lines.splitlines())}]}}'.encode()
    as_json = await post_json(api, tenant, settlement_id, body)
    assert as_json.status == 201, as_json.raw
    assert await references(admin, as_json.body["id"]) == expected


DEEP = "[" * 900 + "]" * 900
LINES = {
    "a fraction as amount": '{"ref": "a", "amt": 1.5}',
    "an exponent as amount": '{"ref": "a", "amt": 1e3}',
    "a huge amount": f'{{"ref": "a", "amt": {"9" * 400}}}',
    "a number of 5,000 digits": f'{{"ref": {"9" * 5_000}, "amt": 1}}',
    "NaN": '{"ref": "a", "amt": NaN}',
    "Infinity elsewhere": '{"ref": "a", "amt": 1, "x": -Infinity}',
    "a name twice": '{"ref": "a", "amt": 1, "amt": 2}',
    "a name twice deep down": '{"ref": "a", "amt": 1, "x": {"y": 1, "y": 2}}',
    "deep nesting": f'{{"ref": "a", "amt": 1, "x": {DEEP}}}',
    "nested amount": '{"ref": "a", "amt": [1]}',
    "half a surrogate": '{"ref": "\\ud800", "amt": 1}',
    "NUL": '{"ref": "\\u0000", "amt": 1}',
    "no object": "[1]",
}


@pytest.mark.parametrize("name", LINES)
async def test_a_malformed_line_of_json_is_refused(api: Api, admin: Admin, tenant: Tenant, name: str) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    path, as_ = f"/settlements/{settlement_id}/statements?{external(PLAIN)}", manager_of(api, tenant)
    lines = '{"ref": "good", "amt": 1}\n' + LINES[name] + "\n"
    streamed = await api.post(path, lines.encode(), as_=as_, key="1", headers={"Content-Type": "application/x-ndjson"})
    assert (streamed.status, streamed.details[0]["field"].startswith("lines.2")) == (422, True), streamed.raw
    body = f'{{"provider": "external", "mapping": {json.dumps(PLAIN)}, "lines": [{LINES[name]}]}}'
    as_json = await post_json(api, tenant, settlement_id, body.encode())
    assert as_json.status in (400, 422), as_json.raw
    assert await rows_kept(admin, settlement_id) == (0, 0, 0)


@pytest.mark.parametrize("mark", [None, ".", ","])
async def test_a_json_number_uses_the_point_despite_another_declared_mark(
    api: Api, admin: Admin, tenant: Tenant, mark: str | None
) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    columns = {"our_reference": "ref", "amount": "amt", "currency": "c"}
    mapping = {"columns": columns, "amounts": "major", **({"decimal_mark": mark} if mark else {})}
    numbers = [("KWD", "1.050", 1050), ("EUR", "-2.50", -250), ("EUR", "1000", 100_000)]
    lines = [f'{{"ref": "r{currency}{text}", "amt": {text}, "c": "{currency}"}}' for currency, text, _ in numbers]
    path, as_ = f"/settlements/{settlement_id}/statements?{external(mapping)}", manager_of(api, tenant)
    kind = {"Content-Type": "application/x-ndjson"}
    streamed = await api.post(path, "\n".join(lines).encode(), as_=as_, key="1", headers=kind)
    as_json = await post_json(
        api, tenant, settlement_id, f'{{"provider": "external", "lines": [{",".join(lines)}]}}'.encode()
    )
    for answer in (streamed, as_json):
        assert answer.status == 201, answer.raw
        rows = await admin.execute(
            "SELECT amount FROM statement_lines WHERE statement_id = %s ORDER BY line_number", [answer.body["id"]]
        )
        assert [row["amount"] async for row in rows] == [amount for _, _, amount in numbers]
    refused = await api.post(path, b'{"ref": "a", "amt": 2.500, "c": "EUR"}', as_=as_, key="2", headers=kind)
    assert (refused.status, refused.details[0]["field"]) == (422, "lines.1.amount")
