"""Every answer has the security headers, whichever part of the API produced it."""

import re

import pytest

from tests.factories import Tenant
from tests.harness import Api
from tests.integration.api.raw_http import CASH, Connection, Wire

ALWAYS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"}
PATHS = {
    "//docs": 200,
    "//docs/start.js": 200,
    "//docs/swagger-ui-bundle.js": 200,
    "//docs/swagger-ui.css": 200,
    "//docs/favicon.png": 200,
    "//docs/elsewhere": 404,
    "//api/v1/openapi.json": 200,
    "//health/live": 200,
    "//metrics": 200,
    "//": 200,
    "//docs/guides/terminal": 200,
    "//docs/guides/elsewhere": 404,
    "//elsewhere": 404,
    "/payments": 401,
    "/payments?nonsense=1": 400,
}


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_has_the_security_headers(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert answer.status == PATHS[path]
    assert {name: answer.headers.getall(name) for name in ALWAYS} == {name: [said] for name, said in ALWAYS.items()}  # type: ignore[attr-defined]
    [policy] = answer.headers.getall("Content-Security-Policy")  # type: ignore[attr-defined]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert ("script-src 'self'" in policy) == (path == "//docs")
    is_a_file = path in ("//docs/swagger-ui-bundle.js", "//docs/swagger-ui.css", "//docs/favicon.png")
    assert answer.headers["Cache-Control"] == ("public, max-age=86400" if is_a_file else "no-store")


async def test_a_payment_and_its_stream_are_not_cached(api: Api, tenant: Tenant) -> None:
    paid = await api.pay(tenant)
    assert (paid.status, paid.headers["Cache-Control"]) == (201, "no-store")
    assert paid.headers["Content-Security-Policy"].startswith("default-src 'none'; frame-ancestors 'none'")


async def test_the_documentation_page_has_no_inline_script_and_loads_nothing_from_other_hosts(api: Api) -> None:
    page = (await api.get("//docs")).raw.decode()
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == ["", ""]
    assert "://" not in page
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) == 4
    assert {(await api.get("/" + source)).status for source in sources} == {200}


async def test_a_refusal_of_the_protocol_has_the_security_headers(wire: Wire) -> None:
    async with Connection(wire) as connection:
        [answer] = await connection.exchange(wire.post(CASH).replace(b"Host: x\r\n", b""), 1)
    answer.check_refusal()
    for name, said in {**ALWAYS, "Cache-Control": "no-store"}.items():
        assert f"\r\n{name}: {said}\r\n".lower().encode() in answer.headers
    assert b"\r\ncontent-security-policy: default-src 'none'; frame-ancestors 'none'" in answer.headers
