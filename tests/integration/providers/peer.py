"""A real TCP server that writes the bytes of a script, and the provider calls that tests make to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from workflows.providers.base import Answer, Charge, ChargeRefund
from workflows.providers.sandbox import SandboxProvider
from workflows.settings import Settings

PAID = {"amount": 1_000, "fee": 32, "provider_reference": "sbx_a", "approval_code": "123456"}
CODE = {"qr_content": "sandbox://pay", "expires_at": "2026-11-30T09:05:00Z"}


@dataclass(frozen=True, slots=True)
class Heard:
    """A received request, with the number of its connection."""

    connection: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any

    @property
    def reference(self) -> str:
        """The reference of the charge or refund, from the body or the path."""
        reference: str = (self.body or {}).get("reference") or self.path.split("/")[3]
        return reference


@dataclass
class Peer:
    """A server that answers requests by ``script``. ``heard`` lists the requests, ``writers`` the connections by number."""

    script: Callable[[Heard, asyncio.StreamWriter], Awaitable[None]]
    port: int = 0
    called: asyncio.Event = field(default_factory=asyncio.Event)
    heard: list[Heard] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    hung_up: list[asyncio.Event] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until the client closes it."""
        number = len(self.writers)
        self.writers.append(writer)
        self.hung_up.append(asyncio.Event())
        try:
            while True:
                heard = await _read_request(reader, number)
                self.heard.append(heard)
                self.called.set()
                await self.script(heard, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up[number].set()
        finally:
            writer.close()


async def _read_request(reader: asyncio.StreamReader, number: int) -> Heard:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return Heard(number, method, path, headers, orjson.loads(raw) if raw else None)


@asynccontextmanager
async def peer_of(
    settings: Settings, script: Callable[[Heard, asyncio.StreamWriter], Awaitable[None]], **changes: Any
) -> AsyncIterator[tuple[Peer, SandboxProvider]]:
    """Run a peer with ``script``, and yield it with an adapter that is connected to it."""
    peer = Peer(script)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    changes.setdefault("sandbox_url", f"http://127.0.0.1:{peer.port}")
    provider = SandboxProvider(settings.model_copy(update=changes))
    try:
        yield peer, provider
    finally:
        await provider.close()
        server.close()
        for writer in peer.writers:
            writer.transport.abort()
        for writer in peer.writers:
            with suppress(Exception):
                await writer.wait_closed()


async def say(writer: asyncio.StreamWriter, *parts: bytes) -> None:
    """Write each of ``parts`` separately."""
    for part in parts:
        writer.write(part)
        await writer.drain()


def http(status: int, body: Any = b"", **headers: str) -> bytes:
    """Return the bytes of an HTTP response."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = {"Content-Type": "application/json", "Content-Length": str(len(raw)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Because\r\n{head}\r\n".encode() + raw


def names(reference: str) -> dict[str, str]:
    """Return the fields that an answer about ``pay_a:1`` or ``rfd_a:1`` must repeat."""
    return {"reference": reference, "payment_id": f"pay_{reference[4]}", "currency": "JPY"}


def operation(reference: str, status: str, **changes: Any) -> dict[str, Any]:
    """Return the body of an answer about an operation."""
    return {**names(reference), "status": status, **PAID, **CODE, **changes}


def error(reference: str, code: str, **changes: Any) -> dict[str, Any]:
    """Return the body of an error response from the provider itself, not from a gateway."""
    return {"error": {"code": code, "message": "said by the provider"}, **names(reference), **changes}


def correct_answer(heard: Heard) -> bytes:
    """Return the correct answer to a request."""
    word = heard.path.removeprefix("/v1/").split("/")[-1]
    status = {"cancel": "cancelled", "reverse": "reversed", "codes": "waiting"}.get(word, "succeeded")
    return http(200, operation(heard.reference, status), Mpac_Call_Id=heard.headers["mpac-call-id"])


async def answer_correctly(heard: Heard, writer: asyncio.StreamWriter) -> None:
    """Send the correct answer."""
    await say(writer, correct_answer(heard))


def charge(letter: str, *, mode: str = "cpm") -> Charge:
    """Return the charge of the payment ``pay_<letter>``."""
    return Charge(f"pay_{letter}:1", f"pay_{letter}", 1_000, "JPY", "qr", mode, 300.0)


def refund(letter: str) -> ChargeRefund:
    """Return the refund of the payment ``pay_<letter>``."""
    return ChargeRefund(f"rfd_{letter}:1", f"pay_{letter}", f"pay_{letter}:1", 1_000, "JPY")


Question = Callable[[SandboxProvider, str], Awaitable[Answer]]
QUESTIONS: dict[str, Question] = {
    "charge": lambda provider, letter: provider.charge(charge(letter)),
    "code": lambda provider, letter: provider.charge(charge(letter, mode="mpm")),
    "inquire": lambda provider, letter: provider.inquire(charge(letter)),
    "withdraw": lambda provider, letter: provider.withdraw(charge(letter)),
    "reverse": lambda provider, letter: provider.reverse(charge(letter)),
    "refund": lambda provider, letter: provider.refund(refund(letter)),
    "inquire_refund": lambda provider, letter: provider.inquire_refund(refund(letter)),
}
MOVING = ("charge", "code", "refund")
"""Calls that may move money."""


def reference_of(question: str, letter: str) -> str:
    """Return the reference of the charge or refund in a call."""
    return f"rfd_{letter}:1" if question in ("refund", "inquire_refund") else f"pay_{letter}:1"
