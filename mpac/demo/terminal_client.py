"""Act as a cashier at a terminal, and cause the faults of each sale.

The rule for terminals is in ``mpac.demo.http_client``: whatever went wrong, send the same request with the same key again, and
trust only an answer that arrived. This module breaks connections, taps twice and cancels.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from mpac.demo.http_client import CONFLICT, HttpCaller
from mpac.demo.problems import UnexpectedAnswer, broken_promise
from mpac.demo.retry import TimedOut
from mpac.demo.sales import Behaviour, Sale
from mpac.demo.statistics import FINAL, SalesStatistics
from mpac.devtools.terminal import Answer

CREATED, OK = 201, 200
FINAL_WITHIN_SECONDS = 180.0  # far beyond what the demonstration's settings allow
WAIT_SECONDS = 10  # of one `?wait=`
DISCONNECT_AFTER_SECONDS = (0.001, 0.015)  # before the request is read, while it is processed, or after the commit
CUSTOMER_TAKES_SECONDS = (0.3, 0.9)


class TerminalClient:
    """Sell to one customer after another. ``phone`` is the customers' telephone, which pays codes at the provider."""

    def __init__(
        self, terminal: HttpCaller, statistics: SalesStatistics, *, phone: HttpCaller, rng: random.Random
    ) -> None:
        self._terminal = terminal
        self._statistics = statistics
        self._phone = phone
        self._rng = rng

    async def sell(self, sale: Sale) -> None:
        """Make one sale from the first tap to its final status. Raises ``UnexpectedAnswer``, ``TimedOut``."""
        submit_by_behaviour: dict[Behaviour, Callable[[Sale], Awaitable[dict[str, Any]]]] = {
            Behaviour.DOUBLE_TAP: self._tap_twice,
            Behaviour.LOST_THEN_REPEATED: self._lose_and_repeat,
            Behaviour.LOST_THEN_FOUND: self._lose_and_find,
        }  # for all others the request is sent once
        began = time.perf_counter()
        self._statistics.note_begun(sale)
        payment = await submit_by_behaviour.get(sale.kind.behaviour, self.submit)(sale)
        self._statistics.note_accepted(sale, payment["id"], post_ms=_milliseconds(began))
        if sale.kind.behaviour is Behaviour.CANCEL_AT_ONCE:
            await self._cancel(payment["id"])
        status = await self._follow(sale, payment)
        self._statistics.note_final(sale, payment["id"], status=status, final_ms=_milliseconds(began))

    async def submit(self, sale: Sale) -> dict[str, Any]:
        """Create the payment of this sale and return it.

        The request has the same key however often it is sent.
        """
        answer = await self._post(sale)
        if answer.status != CREATED:
            raise UnexpectedAnswer(f"the sale {sale.reference} was answered with {answer.status} {answer.body}")
        return dict(answer.body)

    async def _post(self, sale: Sale) -> Answer:
        return await self._terminal.call("POST", "/payments", body=sale.body, key=sale.reference, counted="sale")

    async def _tap_twice(self, sale: Sale) -> dict[str, Any]:
        first, second = await asyncio.gather(self.submit(sale), self.submit(sale))
        if first != second:
            self._statistics.add(
                broken_promise(f"a double tap of {sale.reference} made {first['id']} and {second['id']}")
            )
        return first

    async def _lose_and_repeat(self, sale: Sale) -> dict[str, Any]:
        await self._drop_connection(sale)
        return await self.submit(sale)

    async def _lose_and_find(self, sale: Sale) -> dict[str, Any]:
        await self._drop_connection(sale)
        answer = await self._terminal.call("GET", f"/payments?client_reference={sale.reference}", counted="sale")
        if answer.status != OK:
            raise UnexpectedAnswer(f"the search for {sale.reference} was answered with {answer.status} {answer.body}")
        found = answer.body["data"]
        return dict(found[0]) if found else await self.submit(sale)  # not found: the request had not arrived

    async def _drop_connection(self, sale: Sale) -> None:
        """Send the request and disconnect before the answer can be read."""
        sending = asyncio.create_task(self._post(sale))
        await asyncio.sleep(self._rng.uniform(*DISCONNECT_AFTER_SECONDS))
        sending.cancel()
        await asyncio.wait({sending})

    async def _follow(self, sale: Sale, payment: dict[str, Any]) -> str:
        give_up_at = time.monotonic() + FINAL_WITHIN_SECONDS
        customer: asyncio.Task[None] | None = None
        try:
            while payment["status"] not in FINAL:
                left = give_up_at - time.monotonic()
                if left <= 0:
                    raise TimedOut(
                        f"{payment['id']} was answered 201 and was not final {FINAL_WITHIN_SECONDS:g} s later",
                        counted="payment",
                    )
                payment = await self._wait(payment, within=left)
                self._statistics.open[payment["id"]] = not payment["outcome_known"]
                if payment["next_action"] and customer is None:
                    customer = asyncio.create_task(self._show_code(sale, payment["id"]))
            if customer is not None:
                await customer
        finally:
            if customer is not None:
                customer.cancel()
        return str(payment["status"])

    async def _wait(self, payment: dict[str, Any], *, within: float) -> dict[str, Any]:
        """Return the payment as soon as its version has changed, or as it is after ``WAIT_SECONDS``."""
        path = f"/payments/{payment['id']}?wait={WAIT_SECONDS}&since_version={payment['version']}"
        answer = await self._terminal.call("GET", path, counted="payment", within=within)
        if answer.status != OK:
            raise UnexpectedAnswer(f"GET {path} was answered with {answer.status} {answer.body}")
        if answer.body["version"] < payment["version"]:
            self._statistics.add(broken_promise(f"{payment['id']} went back to version {answer.body['version']}"))
        return dict(answer.body)

    async def _show_code(self, sale: Sale, payment_id: str) -> None:
        """Show the code: the customer pays, or the cashier cancels, or both at the same moment."""
        await asyncio.sleep(self._rng.uniform(*CUSTOMER_TAKES_SECONDS))
        acts = {Behaviour.CANCEL_SHOWN: (self._cancel,), Behaviour.CANCEL_AS_PAID: (self._pay_code, self._cancel)}
        await asyncio.gather(*(act(payment_id) for act in acts.get(sale.kind.behaviour, (self._pay_code,))))

    async def _pay_code(self, payment_id: str) -> None:
        """Pay with the customer's telephone; a code that was just cancelled is refused."""
        answer = await self._phone.call("POST", f"/v1/codes/{payment_id}:1/pay")
        if answer.status not in (OK, CONFLICT):
            raise UnexpectedAnswer(f"the code of {payment_id} was answered with {answer.status} {answer.body}")

    async def _cancel(self, payment_id: str) -> None:
        path = f"/payments/{payment_id}/cancel"
        answer = await self._terminal.call("POST", path, body={"reason": "customer left"}, counted="cancel")
        if answer.status not in (OK, CONFLICT):
            raise UnexpectedAnswer(f"the cancel of {payment_id} was answered with {answer.status} {answer.body}")


def _milliseconds(began: float) -> float:
    return (time.perf_counter() - began) * 1_000
