"""Act as guests at a table: order, get bills, pay and get refunds through the API, as the table's terminal.

A request without an answer is sent again with its key (``mpac.demo.http_client``). If a worker is killed meanwhile, the guests
wait a few seconds longer, and nothing else changes.
"""

from typing import Any

from mpac.demo.http_client import CONFLICT, HttpCaller
from mpac.demo.problems import UnexpectedAnswer
from mpac.demo.retry import TimedOut, wait_until

CREATED, OK = 201, 200
POLL_SECONDS = 0.2
OPEN = ("pending", "processing")
OUT_OF_TIME = ("provider_unavailable", "expired", "withdrawn_by_provider")
"""Reasons of payments and refunds that failed because their calls could not be made in time."""

COUNTED = {"payments": "payment", "refunds": "refund"}


class GuestClient:
    """A table with a terminal. ``phone`` is a guest's telephone, which pays codes at the provider."""

    def __init__(self, terminal: HttpCaller, *, phone: HttpCaller) -> None:
        self._terminal = terminal
        self._phone = phone

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a POST that must be accepted, and return what it created.

        Raises ``UnexpectedAnswer``, ``TimedOut``.
        """
        answer = await self._terminal.call("POST", path, body=body)
        if answer.status != CREATED:
            raise UnexpectedAnswer(f"POST {path} was answered with {answer.status} {answer.body}")
        return dict(answer.body)

    async def read(self, path: str) -> dict[str, Any]:
        """Return the resource as it is now. Raises ``UnexpectedAnswer``, ``TimedOut``."""
        answer = await self._terminal.call("GET", path)
        if answer.status != OK:
            raise UnexpectedAnswer(f"GET {path} was answered with {answer.status} {answer.body}")
        return dict(answer.body)

    async def pay(self, bill: dict[str, Any], method: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Pay a whole bill and return the final payment; a guest's telephone pays a code that is shown."""
        return await self.buy(bill["balance_amount"], method, bill_id=bill["id"], **more)

    async def buy(self, amount: int, method: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Pay an amount as ``pay`` does, and return the final payment."""
        payment = await self.post("/payments", {"amount": amount, "method": method, **more})
        return await self.finish(payment["id"])

    async def create_code(self, amount: int, *, expires_in: int) -> dict[str, Any]:
        """Start a payment by QR code and return it once its code is shown.

        The code is not paid; ``finish`` does that.
        """
        order = {"amount": amount, "method": {"type": "qr", "mode": "mpm"}, "expires_in": expires_in}
        path = f"/payments/{(await self.post('/payments', order))['id']}"
        return await wait_until(
            lambda: self.read(path),
            lambda seen: bool(seen["next_action"]) or seen["status"] not in OPEN,
            what=f"the code of {path}",
            counted="payment",
            every=POLL_SECONDS,
        )

    async def finish(self, payment_id: str) -> dict[str, Any]:
        """Wait until a payment is final, paying its code if one is shown, and return it."""
        return await self._final(f"/payments/{payment_id}")

    async def refund(self, payment_id: str, *, amount: int, reason: str) -> dict[str, Any]:
        """Refund a part of a payment and return the final refund."""
        refund = await self.post(
            f"/payments/{payment_id}/refund", {"amount": amount, "reason": reason, "staff_code": "waiter-3"}
        )
        return await self._final(f"/refunds/{refund['id']}")

    async def _final(self, path: str) -> dict[str, Any]:
        counted, is_paid = COUNTED[path.split("/")[1]], False

        async def read_and_pay() -> dict[str, Any]:
            nonlocal is_paid
            found = await self.read(path)
            if found.get("next_action") and found["status"] in OPEN and not is_paid:
                is_paid = await self._pay_code(found["id"])
            return found

        end = await wait_until(
            read_and_pay,
            lambda found: found["status"] not in OPEN,
            what=f"the end of {path}",
            counted=counted,
            every=POLL_SECONDS,
        )
        why = end.get("failure_code") or end.get("cancel_reason")
        if why in OUT_OF_TIME:
            raise TimedOut(f"{path} ended as {end['status']} ({why})", counted=counted)
        return end

    async def _pay_code(self, payment_id: str) -> bool:
        """Pay with the guest's telephone, which calls the provider and not us; return whether it was paid."""
        answer = await self._phone.call("POST", f"/v1/codes/{payment_id}:1/pay")
        if answer.status not in (OK, CONFLICT):
            raise UnexpectedAnswer(f"the code of {payment_id} was answered with {answer.status} {answer.body}")
        return answer.status == OK
