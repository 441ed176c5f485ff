"""Guests at a table: what they order, the bills they get, how they pay, and what they get back, over a terminal's HTTP.

A request that brings no answer is sent again with its key, as at any till (``mpac.demo.till``); a worker that is killed
meanwhile costs the guests a few seconds and nothing else.
"""

import asyncio
import time
import uuid
from typing import Any

import aiohttp

from mpac.terminal import Answer, Terminal

CREATED, OK = 201, 200
LOOK_EVERY_SECONDS = 0.2
PATIENCE_SECONDS = 60.0  # a killed worker's lease and everything after it, several times over
OPEN = ("pending", "processing")


class BrokeOff(Exception):
    """Something that guests cannot go on after; the message is a sentence."""


class Guests:
    """A table with a terminal. ``sandbox_url`` is where a guest's telephone pays a code."""

    def __init__(
        self, terminal: Terminal, *, session: aiohttp.ClientSession, sandbox_url: str, control_key: str
    ) -> None:
        self._terminal = terminal
        self._session = session
        self._sandbox_url = sandbox_url.rstrip("/")
        self._telephone = {"Authorization": f"Bearer {control_key}"}

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A POST that has to be accepted. Raises ``BrokeOff``."""
        key, deadline = uuid.uuid4().hex, time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = await self._call("POST", path, body=body, key=key)
            if answer is not None and answer.status == CREATED:
                return dict(answer.body)
            if (answer is not None and answer.status < 500) or time.monotonic() > deadline:  # noqa: PLR2004 - the servers' own troubles pass
                said = "nothing" if answer is None else f"{answer.status} {answer.body}"
                raise BrokeOff(f"POST {path} was answered with {said}")
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def read(self, path: str) -> dict[str, Any]:
        """What is there now; empty while nobody answers."""
        answer = await self._call("GET", path)
        return dict(answer.body) if answer is not None and answer.status == OK else {}

    async def pay(self, bill: dict[str, Any], method: dict[str, Any]) -> dict[str, Any]:
        """Pay all of a bill; a code that is shown is paid by a guest's telephone. Returns the final payment."""
        return await self.buy(bill["balance_amount"], method, bill_id=bill["id"])

    async def buy(self, amount: int, method: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Pay an amount, as ``pay`` does. Returns the final payment."""
        payment = await self.post("/payments", {"amount": amount, "method": method, **more})
        return await self.finish(payment["id"])

    async def see_code(self, amount: int) -> dict[str, Any]:
        """Have a code shown, and let it be for now; ``finish`` pays it. Returns the payment that waits for it."""
        payment = await self.post("/payments", {"amount": amount, "method": {"type": "qr", "mode": "mpm"}})
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not payment["next_action"]:
            if time.monotonic() > deadline:
                raise BrokeOff(f"no code of {payment['id']} was shown within {PATIENCE_SECONDS:g} s")
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            payment = await self.read(f"/payments/{payment['id']}") or payment
        return payment

    async def finish(self, payment_id: str) -> dict[str, Any]:
        """Wait for the end of a payment; a code that is shown is paid. Returns the final payment."""
        return await self._final(f"/payments/{payment_id}")

    async def give_back(self, payment_id: str, *, amount: int, reason: str) -> dict[str, Any]:
        """Have some of a payment given back. Returns the final refund."""
        refund = await self.post(
            f"/payments/{payment_id}/refund", {"amount": amount, "reason": reason, "staff_code": "waiter-3"}
        )
        return await self._final(f"/refunds/{refund['id']}")

    async def _final(self, path: str) -> dict[str, Any]:
        deadline, is_paid = time.monotonic() + PATIENCE_SECONDS, False
        while time.monotonic() < deadline:
            found = await self.read(path)
            if found and found["status"] not in OPEN:
                return found
            if found.get("next_action") and not is_paid:
                is_paid = await self._pay_code(found["id"])
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        raise BrokeOff(f"{path} was not final after {PATIENCE_SECONDS:g} s")

    async def _pay_code(self, payment_id: str) -> bool:
        """The guest's telephone, which talks to the provider and not to us."""
        url = f"{self._sandbox_url}/v1/codes/{payment_id}:1/pay"
        async with self._session.post(url, headers=self._telephone) as answer:
            return answer.status == OK

    async def _call(self, method: str, path: str, **rest: Any) -> Answer | None:
        try:
            return await self._terminal.call(method, path, **rest)
        except (aiohttp.ClientError, TimeoutError):
            return None
