"""Answers are read within limits: 1 MB of body, 32 KB of headers, the timeout of the call. Larger answers are unknown."""

import asyncio
import gzip
import itertools
import resource
from collections.abc import Iterator

import orjson
import pytest

from tests.integration.providers.conftest import Run
from tests.integration.providers.peer import QUESTIONS, Heard, answer_correctly, http, operation, peer_of, say
from tests.polling import GENEROUS_SECONDS
from workflows.providers.base import Succeeded, Unknown
from workflows.providers.http_reader import LARGEST_BODY, LARGEST_HEAD, MAX_HEADERS, MAX_INTERIM
from workflows.settings import Settings

BLOCK = b" " * 65_536
MEGABYTE = 1024 * 1024
GIGABYTE = 1024 * MEGABYTE
OK = b"HTTP/1.1 200 OK\r\n"
MOST_SENT = 64 * MEGABYTE
"""Far more than the kernel's buffers hold, and far less than the endless peers would send."""


def endless(head: bytes, piece: bytes) -> Iterator[bytes]:
    yield head
    yield from itertools.repeat(piece, GIGABYTE // len(piece))


ENDLESS = {
    "a gigabyte of body": lambda: endless(OK + f"Content-Length: {GIGABYTE}\r\n\r\n".encode(), BLOCK),
    "a body without a length": lambda: endless(OK + b"\r\n", BLOCK),
    "chunks": lambda: endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + BLOCK + b"\r\n"),
    "tiny chunks": lambda: endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 9_000),
    "chunk extensions": lambda: endless(OK + b"Transfer-Encoding: chunked\r\n\r\n1;a=", b"b" * 65_536),
    "trailers": lambda: endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n" * 8_000),
    "headers": lambda: endless(OK, b"X-A: b\r\n" * 8_000),
    "one header": lambda: endless(OK + b"X-A: ", b"b" * 65_536),
    "the name of a header": lambda: endless(OK, b"b" * 65_536),
    "a reason": lambda: endless(b"HTTP/1.1 200 ", b"b" * 65_536),
    "interim answers": lambda: endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000),
    "interim answers with headers": lambda: endless(b"", b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" * 2_000),
    "blank lines": lambda: endless(b"", b"\r\n" * 30_000),
    "something else": lambda: endless(b"", b"\x00" * 65_536),
}


@pytest.mark.parametrize("question", ["charge", "inquire_refund"])
@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_answer_is_unknown_and_its_connection_closed(
    run: Run, settings: Settings, kind: str, question: str
) -> None:
    sent = 0

    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        if heard.connection:
            await answer_correctly(heard, writer)
            return
        for piece in ENDLESS[kind]():
            await say(writer, piece)
            sent += len(piece)

    async def scenario() -> None:
        async with peer_of(settings, script) as (peer, provider):
            assert isinstance(await QUESTIONS[question](provider, "a"), Unknown)
            await asyncio.wait_for(peer.hung_up[0].wait(), GENEROUS_SECONDS)
            assert not isinstance(await QUESTIONS[question](provider, "b"), Unknown)
            assert len(peer.writers) == 2
        assert sent < MOST_SENT

    run(scenario())


def test_twelve_concurrent_endless_answers_use_little_memory(run: Run, settings: Settings) -> None:
    async def script(_: Heard, writer: asyncio.StreamWriter) -> None:
        for piece in ENDLESS["chunks"]():
            await say(writer, piece)

    async def scenario() -> None:
        async with peer_of(settings, script) as (_, provider):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            answers = await asyncio.gather(*(QUESTIONS["charge"](provider, letter) for letter in "abcdefghijkl"))
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert {type(answer) for answer in answers} == {Unknown}
        assert grown < 100 * 1024, f"{grown} KB more"

    run(scenario())


@pytest.mark.parametrize("kind", ["body", "head", "chunks"])
def test_an_answer_that_drips_ends_with_the_calls_time(run: Run, settings: Settings, kind: str) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        whole = http(200, operation(heard.reference, "succeeded"))
        if kind == "chunks":
            await say(writer, OK + b"Transfer-Encoding: chunked\r\n\r\n")
            whole = b"1\r\n \r\n" * 1_000
        if kind == "body":
            head, _, whole = whole.partition(b"\r\n\r\n")
            await say(writer, head + b"\r\n\r\n")
        for letter in whole:
            await say(writer, bytes([letter]))
            await asyncio.sleep(0.05)

    async def scenario() -> None:
        async with peer_of(settings, script, sandbox_timeout_seconds=2) as (_, provider):
            async with asyncio.timeout(GENEROUS_SECONDS):
                assert await QUESTIONS["charge"](provider, "a") == Unknown("no answer: no answer in time")

    run(scenario())


def big(reference: str, size: int) -> bytes:
    """Return a success answer of exactly ``size`` bytes."""
    body = operation(reference, "succeeded", padding="")
    body["padding"] = "x" * (size - len(orjson.dumps(body)))
    return orjson.dumps(body)


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(("more", "outcome"), [(0, Succeeded), (1, Unknown)])
def test_a_body_is_read_up_to_the_limit_and_not_beyond(
    run: Run, settings: Settings, is_chunked: bool, more: int, outcome: type
) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        body = big(heard.reference, LARGEST_BODY + more)
        if is_chunked:
            head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
            await say(writer, head, b"%x\r\n" % len(body), body, b"\r\n0\r\n\r\n")
        else:
            await say(writer, http(200, body))

    async def scenario() -> None:
        async with peer_of(settings, script) as (_, provider):
            assert isinstance(await QUESTIONS["charge"](provider, "a"), outcome)

    run(scenario())


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "x-gzip", "gzip, gzip"])
def test_a_compressed_answer_is_not_unpacked(run: Run, settings: Settings, encoding: str) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        assert heard.headers["accept-encoding"] == "identity"
        body = gzip.compress(big(heard.reference, 50 * MEGABYTE))
        await say(writer, http(200, body, Content_Encoding=encoding))

    async def scenario() -> None:
        async with peer_of(settings, script) as (_, provider):
            assert isinstance(await QUESTIONS["charge"](provider, "a"), Unknown)

    run(scenario())


@pytest.mark.parametrize(
    ("before", "headers", "outcome"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_INTERIM, {}, Succeeded),
        (b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n", {}, Succeeded),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1), {}, Unknown),
        (b"", {f"X-{number}": "a" for number in range(MAX_HEADERS - 3)}, Succeeded),
        (b"", {f"X-{number}": "a" for number in range(MAX_HEADERS)}, Unknown),
        (b"", {"X-A": "a" * (LARGEST_HEAD - 1_000)}, Succeeded),
        (b"", {"X-A": "a" * LARGEST_HEAD}, Unknown),
        (b"", {"Content-Encoding": "identity"}, Succeeded),
        (
            b"",
            {"Transfer-Encoding": "chunked"},
            Unknown,
        ),  # with a content length: another reader would see a different answer
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", {}, Unknown),
    ],
    ids=str,
)
def test_response_headers_are_read_only_within_the_limits(
    run: Run, settings: Settings, before: bytes, headers: dict[str, str], outcome: type
) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        await say(writer, before + http(200, operation(heard.reference, "succeeded"), **headers))

    async def scenario() -> None:
        async with peer_of(settings, script) as (_, provider):
            assert isinstance(await QUESTIONS["charge"](provider, "a"), outcome)

    run(scenario())


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_answer_that_ends_with_its_connection_is_read(run: Run, settings: Settings, version: str) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        body = orjson.dumps(operation(heard.reference, "succeeded"))
        await say(writer, f"HTTP/{version} 200 OK\r\nContent-Type: application/json\r\n\r\n".encode(), body)
        writer.close()

    async def scenario() -> None:
        async with peer_of(settings, script) as (peer, provider):
            for letter in "ab":
                assert isinstance(await QUESTIONS["charge"](provider, letter), Succeeded)
            assert len(peer.writers) == 2

    run(scenario())
