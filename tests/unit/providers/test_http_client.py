"""The HTTP client refuses unusable settings, sends nothing on a closed connection, and drops answers that nobody awaits."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from tests.polling import GENEROUS_SECONDS
from workflows.providers.http_client import HttpClient, _Connection
from workflows.providers.http_reader import NotConnected


@pytest.mark.parametrize("url", ["ftp://provider.example", "provider.example", "https://", "http:///v1"])
def test_an_address_that_is_not_an_http_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must begin with http:// or https://"):
        HttpClient(url, headers={}, limit=1, timeout_seconds=1)


@pytest.mark.parametrize("value", ["key\r\nX-Other: 1", "key\n", "k\u00e9y", "\u9375"])
def test_a_header_that_is_not_one_line_of_ascii_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="must be one line of ASCII"):
        HttpClient("http://provider.example", headers={"Authorization": value}, limit=1, timeout_seconds=1)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[_Connection, socket.socket]]:
    """Yield a connection of the client, and the provider's end of it."""
    ours, theirs = socket.socketpair()
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, sock=ours)
    yield connection, theirs
    connection.close()
    theirs.close()


def soon() -> float:
    return asyncio.get_running_loop().time() + GENEROUS_SECONDS


async def test_nothing_is_sent_on_a_connection_that_is_closed(pair: tuple[_Connection, socket.socket]) -> None:
    connection, theirs = pair
    connection.close()
    with pytest.raises(NotConnected):
        await connection.exchange("POST /v1/charges HTTP/1.1\r\n", b"{}", largest_body=100, deadline=soon())
    await asyncio.sleep(0)
    assert theirs.recv(1_000) == b""


async def test_an_answer_that_arrives_after_its_caller_was_cancelled_is_dropped(
    pair: tuple[_Connection, socket.socket],
) -> None:
    connection, _ = pair
    asking = asyncio.ensure_future(connection.exchange("GET / HTTP/1.1\r\n", b"", largest_body=100, deadline=soon()))
    await asyncio.sleep(0)
    asking.cancel()
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(asyncio.CancelledError):
        await asking
