"""A call certainly did nothing only if no connection was made, or the provider's own error names this call."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.integration.providers.conftest import Run
from tests.integration.providers.peer import (
    MOVING,
    QUESTIONS,
    Heard,
    answer_correctly,
    charge,
    error,
    http,
    operation,
    peer_of,
    reference_of,
    say,
)
from tests.polling import until
from workflows.providers.base import Succeeded, Unavailable, Unknown
from workflows.providers.http_client import HttpClient
from workflows.providers.http_reader import NotConnected
from workflows.settings import Settings

HTML = b"<html><body><h1>503 Service Unavailable</h1></body></html>"
WAIT = {"Retry_After": "7"}
FOREIGN = {
    "a balancer's 503": http(503, HTML, Content_Type="text/html", **WAIT),
    "a balancer's 502": http(502, HTML, Content_Type="text/html"),
    "a firewall's 403": http(403, HTML, Content_Type="text/html", **WAIT),
    "an empty 401": http(401, WWW_Authenticate="Basic"),
    "an empty 403": http(403),
    "an empty 429": http(429, **WAIT),
    "an empty 503": http(503, **WAIT),
    "a gateway's 429 in JSON": http(429, {"message": "API rate limit exceeded"}, **WAIT),
    "a gateway's 503 in JSON": http(503, {"error": "unavailable", "code": "unavailable"}),
    "an error of another service": http(503, {"error": {"code": "unavailable", "message": "try again"}}),
    "an error about another call": http(503, error("pay_z:1", "unavailable"), **WAIT),
    "a redirect": http(307, Location="/v1/charges"),
}
LINGER_ZERO = struct.pack("ii", 1, 0)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_refusal_that_is_not_the_providers_own_is_unknown(
    run: Run, settings: Settings, foreign: str, question: str
) -> None:
    async def script(_: Heard, writer: asyncio.StreamWriter) -> None:
        await say(writer, FOREIGN[foreign])

    async def scenario() -> None:
        async with peer_of(settings, script) as (peer, provider):
            for letter in "ab":
                assert isinstance(await QUESTIONS[question](provider, letter), Unknown)
            assert [heard.connection for heard in peer.heard] == [0, 1]

    run(scenario())


@pytest.mark.parametrize("question", MOVING)
@pytest.mark.parametrize(("code", "status"), [("unauthorized", 401), ("rate_limited", 429), ("unavailable", 503)])
def test_the_providers_own_refusal_of_this_call_is_unavailable(
    run: Run, settings: Settings, code: str, status: int, question: str
) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        await say(writer, http(status, error(heard.reference, code), **WAIT))

    async def scenario() -> None:
        async with peer_of(settings, script) as (_, provider):
            answer = await QUESTIONS[question](provider, "a")
            assert answer == Unavailable(f"the provider answered {status} {code}", 7.0)

    run(scenario())


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:{free}", "http://nobody.invalid:80", "https://127.0.0.1:{plain}", "http://[::1]:{free}"],
)
def test_a_refused_connection_proves_that_nothing_happened(
    run: Run, settings: Settings, address: str, question: str
) -> None:
    async def scenario() -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))  # no process listens on this port
            async with peer_of(settings, answer_correctly) as (peer, _):
                url = address.format(free=held.getsockname()[1], plain=peer.port)
                async with peer_of(settings, answer_correctly, sandbox_url=url, sandbox_timeout_seconds=1) as (
                    _,
                    provider,
                ):
                    assert isinstance(await QUESTIONS[question](provider, "a"), Unavailable)
                assert not peer.heard

    run(scenario())


def test_a_connection_timeout_proves_that_nothing_happened(run: Run, settings: Settings) -> None:
    async def scenario() -> None:
        with without_room() as full:
            url = f"http://127.0.0.1:{full.getsockname()[1]}"
            async with peer_of(settings, answer_correctly, sandbox_url=url, sandbox_timeout_seconds=0.3) as (
                _,
                provider,
            ):
                assert isinstance(await QUESTIONS["charge"](provider, "a"), Unavailable)

    run(scenario())


@contextmanager
def without_room() -> Iterator[socket.socket]:
    """Yield a server that accepts no connection because its backlog is full."""
    with ExitStack() as opened:
        full = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield full


@pytest.mark.parametrize("mode", ["cpm", "mpm"])
@pytest.mark.parametrize("is_open", [True, False], ids=["an open connection", "a new connection"])
def test_a_charge_is_not_sent_after_its_deadline(run: Run, settings: Settings, *, is_open: bool, mode: str) -> None:
    async def scenario() -> None:
        async with peer_of(settings, answer_correctly) as (peer, provider):
            if is_open:
                assert isinstance(await QUESTIONS["inquire"](provider, "a"), Succeeded)
            now = asyncio.get_running_loop().time()
            assert isinstance(await provider.charge(charge("a", mode=mode), not_after=now), Unavailable)
            assert [heard.method for heard in peer.heard] == ["GET"] * is_open
            assert not isinstance(
                await provider.charge(charge("a", mode=mode), not_after=now + 600), Unavailable | Unknown
            )

    run(scenario())


def test_a_charge_is_not_sent_over_a_connection_that_opens_after_its_deadline(run: Run, settings: Settings) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with without_room() as full:
            url = f"http://127.0.0.1:{full.getsockname()[1]}"
            async with peer_of(settings, answer_correctly, sandbox_url=url) as (_, provider):
                not_after = loop.time() + 0.3
                calling = asyncio.ensure_future(provider.charge(charge("a"), not_after=not_after))
                await until(lambda: loop.time() > not_after)
                full.setblocking(False)
                for _ in range(2):  # the backlog has room now, and the repeated connection attempt succeeds
                    (await loop.sock_accept(full))[0].close()
                assert isinstance(await calling, Unavailable)

    run(scenario())


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("end", ["reset", "closed", "half"])
def test_a_request_that_was_written_and_not_answered_is_unknown(
    run: Run, settings: Settings, end: str, question: str
) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        if end == "half":
            await say(writer, http(200, operation(heard.reference, "succeeded"))[:-1])
        if end == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        writer.close()

    async def scenario() -> None:
        async with peer_of(settings, script) as (peer, provider):
            assert isinstance(await QUESTIONS[question](provider, "a"), Unknown)
            assert len(peer.heard) == 1

    run(scenario())


def test_requests_that_are_never_answered_are_unknown(run: Run, settings: Settings) -> None:
    async def script(_heard: Heard, _writer: asyncio.StreamWriter) -> None:
        """Send no answer."""

    async def scenario() -> None:
        async with peer_of(settings, script, sandbox_timeout_seconds=3) as (peer, provider):
            answers = await asyncio.gather(*(question(provider, "a") for question in QUESTIONS.values()))
            assert {type(answer) for answer in answers} == {Unknown}
            assert len(peer.heard) == len(QUESTIONS)

    run(scenario())


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_connection_that_ended_while_idle_is_replaced_and_the_request_sent_once(
    run: Run, settings: Settings, question: str
) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        await answer_correctly(heard, writer)
        if heard.connection == 0:
            writer.close()

    async def scenario() -> None:
        async with peer_of(settings, script) as (peer, provider):
            assert not isinstance(await QUESTIONS[question](provider, "a"), Unknown)
            await until(lambda: not any(idle.is_quiet() for idle in provider._client._idle))
            answer = await QUESTIONS[question](provider, "b")
            assert not isinstance(answer, Unknown | Unavailable)
            assert [heard.reference for heard in peer.heard] == [reference_of(question, letter) for letter in "ab"]

    run(scenario())


def test_a_call_that_gets_no_slot_in_time_is_not_sent(run: Run, settings: Settings) -> None:
    free = asyncio.Event()

    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        await free.wait()
        await answer_correctly(heard, writer)

    async def ask(client: HttpClient) -> int:
        async with client.exchange("GET", "/v1/charges/pay_a:1") as answer:
            return answer.status

    async def scenario() -> None:
        async with peer_of(settings, script) as (peer, _):
            client = HttpClient(f"http://127.0.0.1:{peer.port}", headers={}, limit=1, timeout_seconds=600)
            first = asyncio.ensure_future(ask(client))
            await peer.called.wait()
            client._timeout_seconds = 0.05
            with pytest.raises(NotConnected):
                await ask(client)
            free.set()
            assert await first == 200
            assert len(peer.heard) == 1
            await client.close()

    run(scenario())


def test_a_call_that_is_cancelled_leaves_no_connection_to_the_next(run: Run, settings: Settings) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        if heard.reference != "pay_a:1":
            await answer_correctly(heard, writer)

    async def scenario() -> None:
        async with peer_of(settings, script) as (peer, provider):
            calling = asyncio.ensure_future(QUESTIONS["charge"](provider, "a"))
            await peer.called.wait()
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
            assert isinstance(await QUESTIONS["charge"](provider, "b"), Succeeded)
            assert [heard.connection for heard in peer.heard] == [0, 1]

    run(scenario())
