"""Request headers have one size limit in every encoding, and ambiguous headers create no payment."""

import psycopg
import pytest
from psycopg.rows import DictRow

from api.http1.protocol import MAX_HEAD_BYTES
from tests.factories import Tenant
from tests.integration.api.raw_http import Connection, Raw, Wire, chunked, payment

Admin = psycopg.AsyncConnection[DictRow]
HOST, LENGTH = b"Host: x\r\n", b"Content-Length: "


async def _count(admin: Admin, tenant: Tenant) -> int:
    rows = await admin.execute("SELECT count(*) AS n FROM payments WHERE store_id = %s", [tenant.store_id])
    found = await rows.fetchone()
    assert found
    return int(found["n"])


async def _only_answer(wire: Wire, raw: bytes, *, piece: int | None = None) -> Raw:
    async with Connection(wire) as connection:
        [answer] = await connection.exchange(raw, 1, piece=piece)
    return answer


WRONG = {
    "no host": (HOST, b""),
    "two hosts": (HOST, HOST + b"Host: y\r\n"),
    "one host twice": (HOST, HOST + HOST),
    "an empty host": (HOST, b"Host:\r\n"),
    "a host with a path": (HOST, b"Host: x/y\r\n"),
    "a host with a user": (HOST, b"Host: a@x\r\n"),
    "a list of hosts": (HOST, b"Host: x, y\r\n"),
    "a port that is none": (HOST, b"Host: x:80a\r\n"),
    "two tokens": (HOST, HOST + b"Authorization: Bearer x\r\n"),
    "two types": (HOST, HOST + b"content-type: application/json\r\n"),
    "another version": (b"HTTP/1.1", b"HTTP/2.0"),
    "an old version": (b"HTTP/1.1", b"HTTP/0.9"),
    "no version": (b" HTTP/1.1", b""),
    "two lengths": (LENGTH, b"Content-Length: 71\r\n" + LENGTH),
    "a length with a sign": (LENGTH, LENGTH + b"+"),
    "a length in words": (LENGTH, LENGTH + b"7 "),
    "length and chunks": (LENGTH, b"Transfer-Encoding: chunked\r\n" + LENGTH),
    "chunks and length": (b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "a folded line": (HOST, HOST + b"X-A: a\r\n b\r\n"),
    "a fold in the key": (b"Idempotency-Key: ", b"Idempotency-Key:\r\n "),
    "a bare LF": (HOST, b"Host: x\n"),
    "a bare CR": (HOST, b"Host: x\r"),
    "LF at the end": (b"\r\n\r\n", b"\r\n\n"),
    "NUL in a value": (HOST, b"Host: x\r\nX-A: a\x00\r\n"),
    "NUL in a name": (HOST, b"Host: x\r\nX\x00A: a\r\n"),
    "a space before the colon": (HOST, b"Host : x\r\n"),
    "a space before the name": (HOST, b" Host: x\r\n"),
    "no name": (HOST, HOST + b": a\r\n"),
    "a tab in the line": (b"POST ", b"POST\t"),
    "a space in the target": (b"/payments ", b"/pay ments "),
}
WRONG_CODINGS = (
    b"chunked, chunked",
    b"chunked\r\nTransfer-Encoding: chunked",
    b"gzip, chunked",
    b"identity",
    b"gzip",
    b"xchunked",
    b"chunked;q=1",
    b"",
)


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("piece", [None, 40])
async def test_invalid_headers_are_refused_before_anything_is_done(
    wire: Wire, admin: Admin, tenant: Tenant, name: str, *, piece: int | None
) -> None:
    wrong, right = payment(wire, 1).replace(*WRONG[name], 1), payment(wire, 1)
    assert wrong != right
    async with Connection(wire) as connection:
        first, second = await connection.exchange(payment(wire, 0) + wrong, 2, piece=piece)
        assert await connection.ended()
    assert first.status == 201
    second.check_refusal()
    assert await _count(admin, tenant) == 1


@pytest.mark.parametrize("coding", WRONG_CODINGS)
async def test_a_transfer_coding_other_than_chunked_is_refused(
    wire: Wire, admin: Admin, tenant: Tenant, coding: bytes
) -> None:
    good = chunked(wire, 0)
    (await _only_answer(wire, good.replace(b": chunked", b": " + coding))).check_refusal()
    (await _only_answer(wire, good.replace(b"HTTP/1.1", b"HTTP/1.0"))).check_refusal()
    assert await _count(admin, tenant) == 0


@pytest.mark.parametrize(
    "host", [b"x", b"pay.example", b"pay.example:8800", b"127.0.0.1:1", b"[::1]:8800", b"api_1", b" x\t", b"X"]
)
async def test_a_valid_host_is_accepted(wire: Wire, host: bytes) -> None:
    assert (await _only_answer(wire, payment(wire, 0).replace(b"Host: x", b"Host: " + host))).status == 201


async def test_http_1_0_needs_no_host(wire: Wire) -> None:
    old = payment(wire, 0).replace(b"HTTP/1.1", b"HTTP/1.0").replace(HOST, b"")
    async with Connection(wire) as connection:
        [answer] = await connection.exchange(old, 1)
        assert (answer.status, await connection.ended()) == (201, True)


async def test_trailers_do_not_count_as_headers(wire: Wire, admin: Admin, tenant: Tenant) -> None:
    key = b"Idempotency-Key: k000\r\n"
    late = chunked(wire, 0, key).replace(key, b"", 1)
    answer = await _only_answer(wire, late)
    assert (answer.status, b"Idempotency-Key" in answer.body) == (400, True)
    token = b"Authorization: " + wire.token + b"\r\n"
    assert (await _only_answer(wire, chunked(wire, 0, token).replace(token, b"", 1))).status == 401
    assert await _count(admin, tenant) == 0


def _padded(wire: Wire, size: int) -> bytes:
    """Return a payment request whose headers have exactly ``size`` bytes."""
    bare = len(payment(wire, 0, b"X-A: \r\n").partition(b"\r\n\r\n")[0]) + 4
    return payment(wire, 0, b"X-A: " + b"x" * (size - bare) + b"\r\n")


WAYS = {"one read": None, "pieces": 4_000}


@pytest.mark.parametrize("way", WAYS)
async def test_headers_are_accepted_up_to_the_limit_and_refused_one_byte_above(
    wire: Wire, admin: Admin, tenant: Tenant, way: str
) -> None:
    (await _only_answer(wire, _padded(wire, MAX_HEAD_BYTES + 1), piece=WAYS[way])).check_refusal()
    assert await _count(admin, tenant) == 0
    assert (await _only_answer(wire, _padded(wire, MAX_HEAD_BYTES), piece=WAYS[way])).status == 201


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [70_000, 100_000, 1_000_000])
async def test_chunk_sizes_and_trailers_have_the_limit_of_headers(
    wire: Wire, admin: Admin, tenant: Tenant, way: str, *, size: int
) -> None:
    good = payment(wire, 0)
    for raw in (
        payment(wire, 0, b"X-A: " + b"x" * size + b"\r\n"),
        payment(wire, 0, b"X-A:" + b" " * size + b"x\r\n"),
        payment(wire, 0, b"X-A: b\r\n" * (size // 8)),
        payment(wire, 0, b"X" * size + b": b\r\n"),
        good.replace(b"/payments", b"/payments?a=" + b"x" * size),
        chunked(wire, 0, b"X-T: " + b"x" * size + b"\r\n"),
        chunked(wire, 0, b"X-T: a\r\n" * (size // 8)),
        chunked(wire, 0, extension=b";a=" + b"x" * size),
    ):
        answer = await _only_answer(wire, raw, piece=WAYS[way])
        answer.check_refusal()
        assert b"must not exceed 64 KiB" in answer.body
    assert await _count(admin, tenant) == 0


async def test_small_chunks_are_accepted(wire: Wire) -> None:
    note = b"x" * 20_000
    body = b'{"amount":1000,"method":{"type":"cash"},"metadata":' + b" " * 30_000 + b"{}}" + b" " * len(note)
    head = chunked(wire, 0).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert (await _only_answer(wire, head + chunks)).status == 201
