"""A stray answer on a provider's connection is never accepted as the answer to another request."""

import asyncio
import os
import select
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.integration.providers.conftest import Run
from tests.integration.providers.peer import (
    QUESTIONS,
    Heard,
    Peer,
    answer_correctly,
    charge,
    correct_answer,
    error,
    http,
    operation,
    peer_of,
    reference_of,
    say,
)
from tests.polling import GENEROUS_SECONDS
from workflows.providers import http_client
from workflows.providers.base import ActionRequired, Answer, Declined, Succeeded, Unknown, Withdrawn
from workflows.settings import Settings

HTML = b"<html><body><h1>503 Service Unavailable</h1></body></html>"
STRAYS: dict[str, Callable[[str], bytes]] = {
    "success": lambda about: http(200, operation(about, "succeeded")),
    "success as a conflict": lambda about: http(409, operation(about, "succeeded")),
    "decline": lambda about: http(200, operation(about, "declined", decline_code="stolen_card")),
    "pending": lambda about: http(200, operation(about, "pending")),
    "waiting": lambda about: http(200, operation(about, "waiting")),
    "cancelled": lambda about: http(200, operation(about, "cancelled")),
    "expired": lambda about: http(200, operation(about, "expired")),
    "reversed": lambda about: http(200, operation(about, "reversed")),
    "not found": lambda about: http(404, error(about, "not_found")),
    "unavailable": lambda about: http(503, error(about, "unavailable")),
    "rate limited": lambda about: http(429, error(about, "rate_limited"), Retry_After="1"),
    "unauthorized": lambda about: http(401, error(about, "unauthorized")),
    "refused": lambda about: http(400, error(about, "invalid_request")),
    "a balancer's 503": lambda _: http(503, HTML, Content_Type="text/html"),
    "a balancer's 503 that closes": lambda _: http(503, HTML, Content_Type="text/html", Connection="close"),
    "a firewall's 403": lambda _: http(403, HTML, Content_Type="text/html"),
    "an empty 429": lambda _: http(429),
    "an empty 404": lambda _: http(404),
    "a 204": lambda _: b"HTTP/1.1 204 No Content\r\n\r\n",
    "a redirect": lambda _: http(302, Location="/elsewhere"),
    "no HTTP": lambda _: b"\x00\xff{}",
    "half a head": lambda _: b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": lambda about: http(200, operation(about, "succeeded"))[:-9],
}
OWN: dict[str, type[Answer]] = {
    "charge": Succeeded,
    "code": ActionRequired,
    "inquire": Succeeded,
    "withdraw": Withdrawn,
    "reverse": Withdrawn,
    "refund": Succeeded,
    "inquire_refund": Succeeded,
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("stray", STRAYS)
def test_a_stray_answer_on_an_idle_connection_ends_it(run: Run, settings: Settings, stray: str, question: str) -> None:
    async def scenario() -> None:
        async with peer_of(settings, answer_correctly) as (peer, provider):
            assert isinstance(await QUESTIONS[question](provider, "a"), OWN[question])
            await say(peer.writers[0], STRAYS[stray](reference_of(question, "a")))
            await asyncio.wait_for(peer.hung_up[0].wait(), GENEROUS_SECONDS)
            assert isinstance(await QUESTIONS[question](provider, "b"), OWN[question])
            assert [heard.connection for heard in peer.heard] == [0, 1]

    run(scenario())


@pytest.mark.parametrize("stray", STRAYS)
def test_an_unread_stray_answer_ends_the_connection(run: Run, settings: Settings, stray: str) -> None:
    async def scenario() -> None:
        async with peer_of(settings, answer_correctly) as (peer, provider):
            assert isinstance(await QUESTIONS["charge"](provider, "a"), Succeeded)
            (idle,) = provider._client._idle
            arrived = idle._transport.get_extra_info("socket").fileno()
            os.write(peer.writers[0].get_extra_info("socket").fileno(), STRAYS[stray]("pay_a:1"))
            assert select.select([arrived], [], [], 60)[0]  # it has arrived, and the loop has not run since
            assert isinstance(await QUESTIONS["charge"](provider, "b"), Succeeded)
            assert [heard.connection for heard in peer.heard] == [0, 1]

    run(scenario())


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("stray", STRAYS)
def test_a_stray_answer_after_the_right_answer_ends_the_connection(
    run: Run, settings: Settings, stray: str, question: str
) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        await say(writer, correct_answer(heard) + STRAYS[stray](heard.reference))

    async def scenario() -> None:
        async with peer_of(settings, script) as (peer, provider):
            for letter in "ab":
                assert isinstance(await QUESTIONS[question](provider, letter), OWN[question])
            assert [heard.connection for heard in peer.heard] == [0, 1]

    run(scenario())


@pytest.mark.parametrize("in_one", [True, False], ids=["in one piece", "one after the other"])
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("stray", STRAYS)
def test_a_stray_answer_after_the_next_request_is_not_accepted(
    run: Run, settings: Settings, stray: str, question: str, in_one: bool
) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        if heard.reference == reference_of(question, "b"):
            stray_one = STRAYS[stray](reference_of(question, "a"))
            await say(writer, *((stray_one + correct_answer(heard),) if in_one else (stray_one, correct_answer(heard))))
        else:
            await answer_correctly(heard, writer)

    async def scenario() -> None:
        async with peer_of(settings, script) as (peer, provider):
            assert isinstance(await QUESTIONS[question](provider, "a"), OWN[question])
            assert isinstance(await QUESTIONS[question](provider, "b"), Unknown)
            # The real answer to B is still to come on that connection, and must not be read by C.
            assert isinstance(await QUESTIONS[question](provider, "c"), OWN[question])
            assert [heard.connection for heard in peer.heard] == [0, 0, 1]

    run(scenario())


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_rejected_answer_ends_its_connection(run: Run, settings: Settings, question: str) -> None:
    """The real answer may still arrive on that connection, and the next request would read it."""

    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        if heard.reference == reference_of(question, "a"):
            await say(writer, STRAYS["decline"](reference_of(question, "z")))
        else:
            with suppress(RuntimeError):  # uvloop raises it if the connection is closed, as it should be
                peers[0].writers[0].write(
                    correct_answer(peers[0].heard[0])
                )  # the answer to A, late, where B might read it
            await answer_correctly(heard, writer)

    async def scenario() -> None:
        async with peer_of(settings, script) as (peer, provider):
            peers.append(peer)
            assert isinstance(await QUESTIONS[question](provider, "a"), Unknown)
            assert isinstance(await QUESTIONS[question](provider, "b"), OWN[question])

    peers: list[Peer] = []
    run(scenario())


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", ["reference", "payment_id", "currency"])
@pytest.mark.parametrize("status", ["succeeded", "declined", "pending", "waiting", "cancelled", "expired", "reversed"])
def test_an_answer_that_lacks_fields_of_the_request_is_not_accepted(
    run: Run, settings: Settings, status: str, name: str, question: str
) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        body = operation(heard.reference, status)
        del body[name]
        await say(writer, http(200, body))

    async def scenario() -> None:
        async with peer_of(settings, script) as (_, provider):
            assert isinstance(await QUESTIONS[question](provider, "a"), Unknown)

    run(scenario())


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("stray", ["success", "decline", "not found", "unavailable", "rate limited"])
def test_an_answer_to_an_earlier_request_for_the_same_charge_is_not_accepted(
    run: Run, settings: Settings, stray: str, question: str
) -> None:
    """A retry has the reference of the earlier try, so only the request id distinguishes their answers."""

    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        late = STRAYS[stray](heard.reference).replace(b"\r\n", b"\r\nMpac-Call-Id: of-an-earlier-request\r\n", 1)
        await say(writer, late)

    async def scenario() -> None:
        async with peer_of(settings, script) as (_, provider):
            assert isinstance(await QUESTIONS[question](provider, "a"), Unknown)

    run(scenario())


def test_an_answer_without_the_request_id_is_accepted(run: Run, settings: Settings) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        await say(writer, http(200, operation(heard.reference, "succeeded")))

    async def scenario() -> None:
        async with peer_of(settings, script) as (peer, provider):
            for letter in "ab":
                assert isinstance(await QUESTIONS["charge"](provider, letter), Succeeded)
            assert [heard.connection for heard in peer.heard] == [0, 0]

    run(scenario())


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_request_id_for_logs_that_a_gateway_replaced_is_accepted(run: Run, settings: Settings, question: str) -> None:
    """Gateways replace our ``X-Request-Id`` by their own, and the provider repeats theirs."""

    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        ours, theirs = heard.headers["x-request-id"].encode(), b"the-gateway's-own"
        assert ours != theirs
        await say(writer, correct_answer(heard).replace(b"\r\n", b"\r\nX-Request-Id: " + theirs + b"\r\n", 1))

    async def scenario() -> None:
        async with peer_of(settings, script) as (peer, provider):
            for letter in "ab":
                assert isinstance(await QUESTIONS[question](provider, letter), OWN[question])
            assert [heard.connection for heard in peer.heard] == [0, 0]

    run(scenario())


def test_a_thousand_correct_answers_use_few_connections(run: Run, settings: Settings) -> None:
    async def scenario() -> None:
        async with peer_of(settings, answer_correctly) as (peer, provider):
            for _ in range(50):
                answers = await asyncio.gather(*(QUESTIONS["charge"](provider, letter) for letter in "abcdefghij" * 2))
                assert {type(answer) for answer in answers} == {Succeeded}
            assert len(peer.writers) <= 20

    run(scenario())


def test_a_decline_of_another_payment_fails_no_payment(run: Run, settings: Settings) -> None:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        await say(writer, STRAYS["decline"]("pay_a:1"))

    async def scenario() -> None:
        async with peer_of(settings, script) as (_, provider):
            assert isinstance(await QUESTIONS["charge"](provider, "a"), Declined)
            assert isinstance(await QUESTIONS["charge"](provider, "b"), Unknown)

    run(scenario())


def test_a_connection_that_was_idle_for_too_long_is_not_used_again(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "KEEPALIVE_SECONDS", -1)

    async def scenario() -> None:
        async with peer_of(settings, answer_correctly) as (peer, provider):
            for letter in "ab":
                assert isinstance(await QUESTIONS["charge"](provider, letter), Succeeded)
            assert [heard.connection for heard in peer.heard] == [0, 1]

    run(scenario())


def test_the_token_of_a_card_is_sent_with_its_charge(run: Run, settings: Settings) -> None:
    async def scenario() -> None:
        async with peer_of(settings, answer_correctly) as (peer, provider):
            for facts in ({"provider_token": "tok_1"}, {"provider_token": None}, {}):
                asked = replace(charge("a"), method_type="card", terminal_data=facts)
                assert isinstance(await provider.charge(asked), Succeeded)
            assert [heard.body.get("token") for heard in peer.heard] == ["tok_1", None, None]

    run(scenario())
