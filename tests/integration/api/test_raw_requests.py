"""Hostile bytes get an answer with a known status, in the error envelope."""

import random
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.factories import Tenant
from tests.harness import Api
from tests.integration.api.raw_http import CASH, Wire


def with_field(name: str, raw: bytes) -> bytes:
    """Return a valid body with an additional field, whose value is raw JSON."""
    return CASH[:-1] + b',"' + name.encode() + b'":' + raw + b"}"


BODIES: dict[str, bytes] = {
    "NUL in a text": with_field("client_reference", b'"a\\u0000b"'),
    "NUL in metadata": with_field("metadata", b'{"a":"\\u0000"}'),
    "NUL in a name": with_field("metadata", b'{"\\u0000":1}'),
    "NUL raw": with_field("client_reference", b'"a\x00b"'),
    "lone surrogate": with_field("client_reference", b'"\\ud800"'),
    "lone surrogate in metadata": with_field("metadata", b'{"a":"\\udfff"}'),
    "lone surrogate in a name": with_field("metadata", b'{"\\ud800":1}'),
    "surrogate as UTF-8": with_field("client_reference", b'"\xed\xa0\x80"'),
    "overlong UTF-8": with_field("client_reference", b'"\xc0\xaf"'),
    "latin-1": with_field("client_reference", b'"\xe9"'),
    "deep lists": with_field("metadata", b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
    "deep objects": with_field("metadata", b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
    "deep nonsense": b"[" * 60_000,
    "huge int": with_field("metadata", b'{"a":' + b"9" * 5_000 + b"}"),
    "huge amount": b'{"amount":' + b"9" * 5_000 + b',"method":{"type":"cash"}}',
    "amount of 2^63": b'{"amount":9223372036854775808,"method":{"type":"cash"}}',
    "exponent": b'{"amount":1e400,"method":{"type":"cash"}}',
    "amount as 1e3": b'{"amount":1e3,"method":{"type":"cash"}}',
    "NaN": with_field("metadata", b'{"a":NaN}'),
    "Infinity": b'{"amount":Infinity,"method":{"type":"cash"}}',
    "minus zero": b'{"amount":-0,"method":{"type":"cash"}}',
    "doubled field": b'{"amount":1,"amount":2,"method":{"type":"cash"}}',
    "many fields": b"{" + b",".join(b'"f%d":1' % number for number in range(4_000)) + b"}",
    "byte order mark": b"\xef\xbb\xbf" + CASH,
    "UTF-16": CASH.decode().encode("utf-16"),
    "UTF-32": CASH.decode().encode("utf-32"),
    "two documents": CASH + CASH,
    "empty": b"",
    "only spaces": b"   ",
    "direction override": with_field("client_reference", '"a\u202eb"'.encode()),
    "line separator": with_field("metadata", '{"a":"\u2028"}'.encode()),
    "a date of the year 0": with_field("expires_in", b'"0000-00-00"'),
}


READABLE = ("doubled field", "byte order mark", "UTF-16", "UTF-32")
"""Unusual bodies that have a single interpretation, and may be accepted."""


@pytest.mark.parametrize("name", BODIES)
async def test_hostile_bodies_get_an_expected_error(wire: Wire, name: str) -> None:
    answer = await wire.send(wire.post(BODIES[name]))
    answer.check(name)
    assert answer.status in ((201, 400, 422) if name in READABLE else (400, 422)), answer.body


HEADERS: dict[str, bytes] = {
    "two keys": b"Idempotency-Key: other\r\n",
    "two tokens": b"Authorization: Bearer x\r\n",
    "two types": b"Content-Type: text/plain\r\n",
    "two lengths": b"Content-Length: 5\r\n",
    "length and chunks": b"Transfer-Encoding: chunked\r\n",
    "negative length": b"Content-Length: -1\r\n",
    "unknown coding": b"Transfer-Encoding: gzip\r\n",
    "compressed": b"Content-Encoding: gzip\r\n",
    "NUL in a value": b"X-A: a\x00b\r\n",
    "bytes in a value": b"X-A: \xff\xfe\r\n",
    "bytes in a name": b"X-\xff: a\r\n",
    "no colon": b"X-A\r\n",
    "space before colon": b"X-A : b\r\n",
    "long value": b"X-A: " + b"x" * 60_000 + b"\r\n",
    "many": b"".join(b"X-%d: a\r\n" % number for number in range(500)),
    "upgrade": b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    "expect": b"Expect: something\r\n",
    "two request ids": b"X-Request-Id: a\r\nX-Request-Id: b\r\n",
    "another host": b"X-Forwarded-Host: evil.example\r\nX-HTTP-Method-Override: DELETE\r\n",
    "odd accept": b"Accept: image/png\r\nAccept-Language: \xff\r\nRange: bytes=0-1\r\n",
    "old": b"If-Modified-Since: yesterday\r\nIf-None-Match: *\r\n",
}


@pytest.mark.parametrize("name", HEADERS)
async def test_hostile_headers_get_an_expected_answer(wire: Wire, name: str) -> None:
    answer = await wire.send(wire.post(CASH, headers=HEADERS[name]))
    answer.check(name)


PATHS = (
    b"/api/v1/payments/%00",
    b"/api/v1/payments/%ff%fe",
    b"/api/v1/payments/%zz",
    b"/api/v1/payments/%",
    b"/api/v1/payments/..%2f..%2fetc%2fpasswd",
    b"/api/v1/payments/../../health/live",
    b"/api/v1//payments",
    b"//api/v1/payments",
    b"/api/v1/payments;x=1",
    b"/api/v1/payments/%e2%80%ae",
    b"/api/v1/payments/" + b"a" * 8_000,
    b"/api/v1/payments?limit=%00",
    b"/api/v1/payments?limit=1&limit=x",
    b"/api/v1/payments?" + b"a=1&" * 5_000,
    b"/api/v1/payments?client_reference=%00",
    b"/api/v1/payments?client_reference=%ed%a0%80",
    b"/api/v1/payments?client_reference=%ff",
    b"/api/v1/payments?store_id=%27%3b--",
    b"/api/v1/payments?created_from=0000-01-01T00:00:00Z",
    b"/api/v1/payments?created_from=0001-01-01T00:00:00%2B23:59",
    b"/api/v1/payments?created_to=9999-12-31T23:59:59-23:59",
    b"/api/v1/payments?created_from=99999999999999999999",
    b"/api/v1/payments?created_from=2026-01-01",
    b"/api/v1/payments?created_from=-1e400",
    b"/api/v1/payments?cursor=%F0%9F%92%A9",
    b"/api/v1/payments/pay_1?wait=1e400",
    b"/api/v1/payments/pay_1?wait=0x10",
    b"/api/v1/payments/pay_1?wait=&since_version=",
    b"http://elsewhere.example/api/v1/payments",
    b"*",
    b"/\xff\xfe",
    b"/api/v1/payments?\xff",
    b"/openapi.json",
    b"/favicon.ico",
)


@pytest.mark.parametrize("path", PATHS)
async def test_hostile_paths_get_an_expected_answer(wire: Wire, path: bytes) -> None:
    (await wire.send(wire.get(path))).check(path)


@pytest.mark.parametrize(
    "method", [b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"PURGE", b"BREW", b"get", b"G\x00T", b"", b"X" * 300]
)
async def test_hostile_methods_get_an_expected_answer(wire: Wire, method: bytes) -> None:
    raw = wire.get(b"/api/v1/payments", method=method)
    if method == b"HEAD":
        raw = raw.replace(b"HEAD", b"OPTIONS", 1)  # the answer to HEAD has no body to check; the path is the same
    (await wire.send(raw)).check(method)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"hello\r\n\r\n",
        b"\x00" * 64 + b"\r\n\r\n",
    ],
)
async def test_bytes_that_are_not_http_are_refused_in_the_envelope(wire: Wire, raw: bytes) -> None:
    answer = await wire.send(raw)
    answer.check(raw)
    assert answer.status == 400


@pytest.mark.parametrize("key", [b"", b" ", b"\x00", b"\xff", b"a\x7f", b"x" * 101, b"\xe2\x82\xac", b"a" * 100])
async def test_hostile_idempotency_keys_get_an_expected_answer(wire: Wire, key: bytes) -> None:
    answer = await wire.send(wire.post(CASH, key=key))
    answer.check(key)
    assert (answer.status == 201) == (key == b"a" * 100)


def mutations(seed: int, body: bytes, *, count: int) -> Iterator[bytes]:
    """Yield variants of ``body`` with changed, dropped, doubled and swapped bytes, the same in every run."""
    chance = random.Random(seed)
    for _ in range(count):
        changed = bytearray(body)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(changed))
            match chance.randrange(4):
                case 0:
                    changed[place] = chance.randrange(256)
                case 1:
                    del changed[place]
                case 2:
                    changed[place:place] = changed[place : place + 8]
                case _:
                    changed[place:place] = chance.choice(
                        [b"\x00", b"\\u0000", b"\\ud800", b"1e999", b"{", b"]", b'"', b"null"]
                    )
        yield bytes(changed)


FULL: dict[str, Any] = {
    "amount": 1_000,
    "currency": "JPY",
    "tip_amount": 5,
    "method": {"type": "card", "approval_code": "A1", "card_last_4": "1111"},
    "client_reference": "till-1",
    "expires_in": 60,
    "metadata": {"a": [1, 2.5, None, True, {"b": "ü"}]},
}


@pytest.mark.parametrize("seed", range(4))
async def test_mutations_of_a_valid_body_get_an_expected_answer(wire: Wire, seed: int) -> None:
    for body in mutations(seed, orjson.dumps(FULL), count=60):
        answer = await wire.send(wire.post(body, key=b"k%d" % hash(body)))
        answer.check(body)


async def test_api_accepts_payments_after_hostile_requests(api: Api, tenant: Tenant) -> None:
    assert (await api.pay(tenant)).status == 201
