"""A till: one terminal, one cashier, and whatever befalls their requests.

The rule a terminal lives by is in ``submit``: whatever went wrong, send the same request with the same key again, and
believe only an answer that came. Everything else here is about things going wrong.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from mpac.demo.sales import Habit, Sale
from mpac.demo.tally import FINAL, Tally
from mpac.terminal import Answer, Terminal

CREATED, OK, CONFLICT, TOO_MANY = 201, 200, 409, 429
TRY_AGAIN_SECONDS = 0.2
PATIENCE_SECONDS = 90.0  # far beyond what the demonstration's settings allow; who waits longer has found a mistake
WAIT_SECONDS = 10  # of one `?wait=`
LINE_BREAKS_AFTER_SECONDS = (0.001, 0.015)  # before the request was read, while it is worked on, after the commit
CUSTOMER_TAKES_SECONDS = (0.3, 0.9)


class Till:
    """Sells, one customer after the other."""

    def __init__(
        self,
        terminal: Terminal,
        tally: Tally,
        *,
        session: aiohttp.ClientSession,
        sandbox_url: str,
        control_key: str,
        chance: random.Random,
    ) -> None:
        self._terminal = terminal
        self._tally = tally
        self._session = session
        self._sandbox_url = sandbox_url.rstrip("/")
        self._telephone = {"Authorization": f"Bearer {control_key}"}
        self._chance = chance

    async def sell(self, sale: Sale) -> None:
        """One sale from the first tap to its final status."""
        habits: dict[Habit, Callable[[Sale], Awaitable[dict[str, Any]]]] = {
            Habit.DOUBLE_TAP: self._tap_twice,
            Habit.LOST_THEN_REPEATED: self._lose_and_repeat,
            Habit.LOST_THEN_FOUND: self._lose_and_find,
        }  # the others submit like everybody
        began = time.perf_counter()
        payment = await habits.get(sale.kind.habit, self.submit)(sale)
        self._tally.note_accepted(sale, payment["id"], post_ms=_milliseconds(began))
        if sale.kind.habit is Habit.CANCEL_AT_ONCE:
            await self._cancel(payment["id"])
        status = await self._follow(sale, payment)
        self._tally.note_final(sale, payment["id"], status=status, final_ms=_milliseconds(began))

    async def submit(self, sale: Sale) -> dict[str, Any]:
        """The payment of this sale; the request is repeated with its key until an answer comes."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = await self._post(sale)
            if answer is not None and answer.status == CREATED:
                return dict(answer.body)
            if time.monotonic() > give_up_at or (answer is not None and _is_refusal(answer)):
                said = "nothing" if answer is None else f"{answer.status} {answer.body}"
                raise RuntimeError(f"sale {sale.reference} was never accepted; the last answer was {said}")
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def _post(self, sale: Sale) -> Answer | None:
        try:
            return await self._terminal.call("POST", "/payments", body=sale.body, key=sale.reference)
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def _tap_twice(self, sale: Sale) -> dict[str, Any]:
        first, second = await asyncio.gather(self.submit(sale), self.submit(sale))
        if first != second:
            self._tally.wrong.append(f"a double tap of {sale.reference} made {first['id']} and {second['id']}")
        return first

    async def _lose_and_repeat(self, sale: Sale) -> dict[str, Any]:
        await self._break_line(sale)
        return await self.submit(sale)

    async def _lose_and_find(self, sale: Sale) -> dict[str, Any]:
        await self._break_line(sale)
        answer = await self._terminal.call("GET", f"/payments?client_reference={sale.reference}")
        found = answer.body["data"] if answer.status == OK else []
        return dict(found[0]) if found else await self.submit(sale)  # not there: it had not arrived

    async def _break_line(self, sale: Sale) -> None:
        """Send the request and hang up before the answer can be read."""
        sending = asyncio.create_task(self._post(sale))
        await asyncio.sleep(self._chance.uniform(*LINE_BREAKS_AFTER_SECONDS))
        sending.cancel()
        await asyncio.wait({sending})

    async def _follow(self, sale: Sale, payment: dict[str, Any]) -> str:
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        customer: asyncio.Task[None] | None = None
        while payment["status"] not in FINAL and time.monotonic() < give_up_at:
            payment = await self._wait(payment)
            self._tally.open[payment["id"]] = not payment["outcome_known"]
            if payment["next_action"] and customer is None:
                customer = asyncio.create_task(self._show_code(sale, payment["id"]))
        if customer is not None:
            await customer
        return str(payment["status"])

    async def _wait(self, payment: dict[str, Any]) -> dict[str, Any]:
        """The payment as soon as its version has moved."""
        path = f"/payments/{payment['id']}?wait={WAIT_SECONDS}&since_version={payment['version']}"
        try:
            answer = await self._terminal.call("GET", path)
        except (aiohttp.ClientError, TimeoutError):
            answer = None
        if answer is None or answer.status != OK:
            await asyncio.sleep(TRY_AGAIN_SECONDS)
            return payment
        if answer.body["version"] < payment["version"]:
            self._tally.wrong.append(f"{payment['id']} went back to version {answer.body['version']}")
        return dict(answer.body)

    async def _show_code(self, sale: Sale, payment_id: str) -> None:
        """The code is on the screen: the customer pays, or the cashier withdraws it, or both at the same moment."""
        await asyncio.sleep(self._chance.uniform(*CUSTOMER_TAKES_SECONDS))
        acts = {Habit.CANCEL_SHOWN: (self._cancel,), Habit.CANCEL_AS_PAID: (self._pay_code, self._cancel)}
        await asyncio.gather(*(act(payment_id) for act in acts.get(sale.kind.habit, (self._pay_code,))))

    async def _pay_code(self, payment_id: str) -> None:
        """The customer's telephone, which talks to the provider and not to us."""
        url = f"{self._sandbox_url}/v1/codes/{payment_id}:1/pay"
        async with self._session.post(url, headers=self._telephone):
            pass  # a code that was withdrawn a moment ago is refused, and the telephone says so

    async def _cancel(self, payment_id: str) -> None:
        answer = await self._terminal.call("POST", f"/payments/{payment_id}/cancel", body={"reason": "customer left"})
        if answer.status not in (OK, CONFLICT):
            self._tally.wrong.append(f"the cancel of {payment_id} was answered {answer.status}")


def _is_refusal(answer: Answer) -> bool:
    """Whether the same request can never succeed. A key in use, too many requests and a closed shop pass."""
    return answer.status < 500 and answer.status not in (CONFLICT, TOO_MANY)  # noqa: PLR2004 - the servers' own troubles


def _milliseconds(began: float) -> float:
    return (time.perf_counter() - began) * 1_000
