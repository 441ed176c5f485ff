"""Call the sandbox provider over HTTP. ``sandbox_answers`` interprets its answers.

The outcome is ``Unavailable`` only if no connection was made, or if the provider's answer to this request says that it did
nothing. A request without a valid answer has the outcome ``Unknown``, and its connection is not used again.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson

from workflows.providers import sandbox_statement
from workflows.providers.base import (
    NEVER,
    Answer,
    Charge,
    ChargeRefund,
    Declined,
    NotFound,
    Outcome,
    StatementLine,
    Unavailable,
    Unknown,
    Withdrawn,
)
from workflows.providers.http_client import HttpClient
from workflows.providers.http_reader import NoAnswer, NotConnected
from workflows.providers.sandbox_answers import REFUSED, read_answer
from workflows.settings import Settings

NAME = "sandbox"
MAPPING = sandbox_statement.MAPPING


STATEMENTS_AT_ONCE = 16
"""Connections for statements, in addition to ``calls_in_flight`` each for payments and refunds.

The executors limit their calls themselves, so no call waits for a connection here, where its payment could expire.
"""


class SandboxProvider:
    """The adapter of the sandbox provider. A process has one instance, with one connection pool."""

    name = NAME
    deduplicates = True

    def __init__(self, settings: Settings) -> None:
        self.max_processing_seconds = settings.sandbox_max_processing_seconds
        key = settings.sandbox_api_key.get_secret_value() if settings.sandbox_api_key else ""
        self._client = HttpClient(
            settings.sandbox_url or "",
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            limit=2 * settings.calls_in_flight + STATEMENTS_AT_ONCE,
            timeout_seconds=settings.sandbox_timeout_seconds,
        )

    @classmethod
    def open(cls, settings: Settings) -> "SandboxProvider | None":
        """Create the provider, or return ``None`` if the settings name no address."""
        return cls(settings) if settings.sandbox_url else None

    async def charge(self, charge: Charge, *, not_after: float = NEVER) -> Outcome:
        """Charge immediately, or create a code for the customer to scan (``qr`` with ``mpm``)."""
        body: dict[str, Any] = {
            "reference": charge.reference,
            "payment_id": charge.payment_id,
            "account": charge.account,
            "amount": charge.amount,
            "currency": charge.currency,
            "metadata": charge.metadata,
        }
        path = "/v1/charges"
        if charge.method_mode == "mpm":
            path = "/v1/codes"
            body["expires_in"] = max(1, int(charge.expires_in_seconds))
        elif charge.terminal_data.get("provider_token"):
            body["token"] = charge.terminal_data["provider_token"]
        if charge.method_type == "qr" and charge.method_mode != "mpm":
            body["kind"] = "qr_cpm"  # without it, the provider treats the token as a card, which has a brand
        answer = await self._call("POST", path, charge, body, not_after=not_after)
        if isinstance(answer, NotFound):  # 404 is not an answer to a charge, so it may come from another server
            return Unknown("the provider answered 404")
        # A code that was withdrawn before it was paid moves no money, so the charge is declined.
        return answer if not isinstance(answer, Withdrawn) else Declined("cancelled", "Withdrawn before")

    async def inquire(self, charge: Charge) -> Answer:
        """Ask for the outcome of ``charge``."""
        return await self._call("GET", f"/v1/charges/{quote(charge.reference, safe=':')}", charge, refusal=None)

    async def withdraw(self, charge: Charge) -> Answer:
        """Cancel ``charge``. If it has already been completed, the provider answers 409 with the charge."""
        return await self._undo("cancel", charge)

    async def reverse(self, charge: Charge) -> Answer:
        """Reverse ``charge``, fee included. The provider refuses it after a partial refund."""
        return await self._undo("reverse", charge)

    async def refund(self, refund: ChargeRefund) -> Outcome:
        """Refund some or all of a charge."""
        body = {
            "reference": refund.reference,
            "payment_id": refund.payment_id,
            "account": refund.account,
            "charge_reference": refund.charge_reference,
            "amount": refund.amount,
            "currency": refund.currency,
            "metadata": refund.metadata,
        }
        answer = await self._call("POST", "/v1/refunds", refund, body)
        # We have recorded the charge as completed, so an answer that it does not exist is not credible.
        return (
            answer if not isinstance(answer, NotFound | Withdrawn) else Unknown("the provider does not know the charge")
        )

    async def inquire_refund(self, refund: ChargeRefund) -> Answer:
        """Ask for the outcome of ``refund``."""
        return await self._call("GET", f"/v1/refunds/{quote(refund.reference, safe=':')}", refund, refusal=None)

    def statement(
        self, account: str, *, start: datetime, end: datetime
    ) -> AsyncIterator[list[StatementLine] | Unavailable]:
        """Yield the lines of ``account`` in ``[start, end)`` page by page, so that only one page is in memory."""
        return sandbox_statement.read_statement(self._client, account, start=start, end=end)

    async def close(self) -> None:
        """Close the connection pool."""
        await self._client.close()

    async def _undo(self, verb: str, charge: Charge) -> Answer:
        # A provider that never received the charge can repeat only these fields in its answer.
        body = {"payment_id": charge.payment_id, "currency": charge.currency}
        path = f"/v1/charges/{quote(charge.reference, safe=':')}/{verb}"
        return await self._call("POST", path, charge, body, refusal=None)

    async def _call(
        self,
        method: str,
        path: str,
        asked: Charge | ChargeRefund,
        body: dict[str, Any] | None = None,
        *,
        refusal: int | None = REFUSED,
        not_after: float = NEVER,
    ) -> Answer:
        sent = orjson.dumps(body) if body else b""
        try:
            async with self._client.exchange(method, path, sent, not_after=not_after) as response:
                answer = read_answer(response, asked, refusal=refusal)
                if not isinstance(answer, Unknown):
                    response.keep_alive()
                return answer
        except NotConnected as error:
            return Unavailable(str(error))
        except NoAnswer as error:
            return Unknown(f"no answer: {error}")
