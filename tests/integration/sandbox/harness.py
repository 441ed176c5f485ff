"""Run a real sandbox in its own process, with a small client.

The process is real because the sandbox's promises concern processes: which data survives kill -9, how a broken connection
looks, and how it stops.
"""

import asyncio
import contextlib
import itertools
import re
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
import orjson

from tests.polling import GENEROUS_SECONDS, eventually

ROOT = Path(__file__).parents[3]
KEY = "key-of-the-tests"
CONTROL_KEY = "control-key-of-the-tests"
SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cw=="
HOUR_SECONDS = 3_600
HOUR_MS = HOUR_SECONDS * 1_000
"""An hour: the duration of every state that a test has to observe. ``advance_clock`` ends it."""

SILENCE_SECONDS = 0.1  # a wrong answer would have arrived within this time
NUMBERS = itertools.count(1)

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]


def new_payment_id(prefix: str = "pay") -> str:
    """Return a payment id that no other test of this process uses."""
    return f"{prefix}_{next(NUMBERS)}"


class Sandbox:
    """A running sandbox process, and a client for it."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url
        self.log: list[str] = []
        self._reader = asyncio.ensure_future(self._read_log())
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    @classmethod
    async def start(cls, store: Path, environment: Mapping[str, str] | None = None) -> Self:
        """Start a sandbox on a free port and wait until it listens."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sandbox", "--port", "0", "--store", str(store)),
            cwd=ROOT,
            env={
                "MPAC_SANDBOX_API_KEY": KEY,
                "MPAC_SANDBOX_CONTROL_KEY": CONTROL_KEY,
                "MPAC_SANDBOX_WEBHOOK_SECRET": SECRET,
                "MPAC_SANDBOX_MIN_LATENCY_MS": "0",
                "MPAC_SANDBOX_MAX_LATENCY_MS": "0",
                **(environment or {}),
            },
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        seen = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GENEROUS_SECONDS):
                while line := (await process.stderr.readline()).decode():
                    seen += line
                    if found := re.search(r"listening on (http://\S+)", line):
                        return cls(process, found[1])
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise AssertionError(f"the sandbox did not start:\n{seen}")

    async def stop(self) -> None:
        """Stop the sandbox as a supervisor would, and check that it logged no error."""
        self.process.terminate()
        try:
            await self._gone()
        except TimeoutError:
            await self.kill()
            raise
        assert self.process.returncode == 0, self.log
        assert not [line for line in self.log if "ERROR" in line or "Traceback" in line], "".join(self.log)

    async def kill(self) -> None:
        """Kill the sandbox with SIGKILL, if it is still running."""
        if self.process.returncode is None:
            self.process.kill()
        await self._gone()

    async def _gone(self) -> None:
        await self._session.close()
        async with asyncio.timeout(GENEROUS_SECONDS):
            await self.process.wait()
            await self._reader

    async def _read_log(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.log.append(line.decode())

    async def call(
        self, method: str, path: str, *, body: Any = None, headers: Mapping[str, str] | None = None, timeout: float = 10
    ) -> Answer:
        """Send a request with the key that its route needs.

        Raises aiohttp's errors if there is no valid answer.
        """
        data = body if isinstance(body, bytes | None) else orjson.dumps(body)
        key = CONTROL_KEY if path.startswith("/control") or path.endswith("/pay") else KEY
        sent = {"Authorization": f"Bearer {key}", **(headers or {})}
        limit = aiohttp.ClientTimeout(total=timeout)
        async with self._session.request(method, self.url + path, data=data, headers=sent, timeout=limit) as answer:
            raw = await answer.read()
            is_json = answer.content_type == "application/json"
            return Answer(answer.status, orjson.loads(raw) if is_json else raw.decode(), answer.headers)

    async def charge(self, reference: str, /, *, fate: str = "", timeout: float = 10, **changes: Any) -> Answer:
        """Charge 1,000 yen. The payment id is the part of the reference before the colon."""
        body = order(reference, fate=fate) | changes
        return await self.call("POST", "/v1/charges", body=body, timeout=timeout)

    async def refund(self, reference: str, *, of: str, amount: int, fate: str = "", timeout: float = 10) -> Answer:
        """Refund ``amount`` of the charge with the reference ``of``."""
        changes = {"reference": reference, "charge_reference": of, "amount": amount}
        return await self.call("POST", "/v1/refunds", body=order(of, fate=fate) | changes, timeout=timeout)

    async def code(self, reference: str, *, fate: str = "", expires_in: int = 300, timeout: float = 10) -> Answer:
        """Create a QR code for 1,000 yen."""
        body = order(reference, fate=fate) | {"expires_in": expires_in}
        return await self.call("POST", "/v1/codes", body=body, timeout=timeout)

    async def ask(self, reference: str) -> Answer:
        """Inquire about a charge."""
        return await self.call("GET", f"/v1/charges/{reference}")

    async def hang_up_once_moved(self, call: Coroutine[Any, Any, Answer], payment_id: str) -> None:
        """Start a call that is never answered; close its connection once the payment's money has moved."""
        before = await self.moved(payment_id)
        await self.hang_up_once(call, lambda: self.moved(payment_id), done=lambda moved: moved != before)

    async def hang_up_once(
        self, call: Coroutine[Any, Any, Answer], look: Callable[[], Awaitable[Seen]], *, done: Callable[[Seen], bool]
    ) -> None:
        """Start a call that is never answered, and close its connection once ``done`` is satisfied.

        ``done`` shows that the call was processed. A fixed wait would not do, because the request might not have been sent
        by then.
        """
        calling = asyncio.ensure_future(call)
        try:
            await eventually(look, until=done)
            answered, _ = await asyncio.wait({calling}, timeout=SILENCE_SECONDS)
            assert not answered, "this call was to be left without an answer"
        finally:
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)

    async def advance_clock(self, seconds: int = HOUR_SECONDS + 1) -> None:
        """Advance the provider's clock by ``seconds``."""
        ahead = (await self.call("GET", "/control/clock")).body["ahead_seconds"]
        moved = await self.call("PUT", "/control/clock", body={"ahead_seconds": ahead + seconds})
        assert moved.status == 200, moved.body

    async def moved(self, payment_id: str) -> list[tuple[str, int]]:
        """Return the kind and amount of each movement of a payment, from the ledger."""
        answer = await self.call("GET", f"/control/ledger/{payment_id}")
        return [(row["kind"], row["amount"]) for row in answer.body["data"]]


Launch = Callable[[], Awaitable[Sandbox]]


def order(reference: str, *, fate: str = "") -> dict[str, Any]:
    """Return the fields that the bodies of all operations share."""
    return {
        "reference": reference,
        "payment_id": reference.partition(":")[0],
        "amount": 1_000,
        "currency": "JPY",
        "metadata": {"sandbox": fate} if fate else {},
    }
