"""The sandbox provider, over HTTP: which of its answers means which outcome.

The tables below are the whole decision. What left us and brought no readable answer back is ``Unknown``; only a
connection that was never made, a 429, a 503 and an authentication failure are certain to have done nothing. An answer whose
fields are not what they should be (an amount in words, a text with control characters) is not readable either.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any

import aiohttp
import orjson

from workflows.card_data import mask
from workflows.providers.base import (
    ActionRequired,
    Answer,
    Charge,
    Declined,
    GiveBack,
    NotFound,
    Outcome,
    StatementLine,
    Succeeded,
    Unavailable,
    Unknown,
    Withdrawn,
)
from workflows.providers.statement_mapping import StatementMapping
from workflows.settings import Settings

NAME = "sandbox"

OK, REFUSED, CONFLICT, MISSING = 200, 400, 409, 404  # that a question is refused says nothing of what it is about
NOTHING_DONE = frozenset({401, 403, 429, 503})
RETRIABLE_CODES = frozenset({"try_again_later", "issuer_unavailable", "processor_busy"})
"""Declines after which the sandbox's documentation allows another attempt."""
KEEPALIVE_SECONDS = 15  # below the provider's own 75 s, so that we never write into a connection it is closing
CONNECT_TIMEOUT_SECONDS = 3  # a provider that does not take a connection by then has certainly done nothing
LONGEST_TEXT = 500  # of any field; ours hold it, and a provider that says more in one says garbage
LARGEST_AMOUNT = 2**63 - 1


def _whole(value: Any) -> int:
    if type(value) is not int or abs(value) > LARGEST_AMOUNT:
        raise TypeError("not a whole number of minor units")
    return value


def _words(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise TypeError("not a line of text")
    return value


def _prose(value: Any) -> str:
    """Words for people, in which a provider may have quoted what the terminal must never see stored."""
    return mask(_words(value))


def _words_if_any(value: Any) -> str | None:
    return None if value is None else _words(value)


def _succeeded(body: dict[str, Any]) -> Succeeded:
    return Succeeded(
        amount=_whole(body["amount"]),
        provider_reference=_words_if_any(body.get("provider_reference")),
        approval_code=_words_if_any(body.get("approval_code")),
        card_brand=_words_if_any(body.get("card_brand")),
        card_last_4=_words_if_any(body.get("card_last_4")),
        fee=_whole(body.get("fee") or 0),
    )


def _declined(body: dict[str, Any]) -> Declined:
    code = _words(body.get("decline_code") or "declined")
    message = _prose(body.get("decline_message") or "The provider declined the payment")
    return Declined(code=code, message=message, is_retriable=code in RETRIABLE_CODES)


def _pending(body: dict[str, Any]) -> ActionRequired:
    return ActionRequired(None, _words_if_any(body.get("provider_reference")))


def _waiting(body: dict[str, Any]) -> ActionRequired:
    until = _words(body["expires_at"])
    datetime.fromisoformat(until)
    action = {"type": "display_qr", "qr_content": _words(body["qr_content"]), "expires_at": until}
    return ActionRequired(action, _words_if_any(body.get("provider_reference")))


STATEMENT_KINDS = {"charge": ("payment", 1), "refund": ("refund", -1), "reversal": ("reversal", -1)}
STATEMENT_PAGE = 5_000  # the most it gives: a megabyte of JSON

MAPPING = StatementMapping(
    columns={
        "kind": "kind",
        "our_reference": "reference",
        "provider_reference": "provider_reference",
        "amount": "amount",
        "currency": "currency",
        "fee": "fee",
        "at": "at",
    },
    kinds={"charge": "payment", "refund": "refund", "reversal": "reversal"},
)
"""How a file of its statement is read, should somebody upload one."""


def _instant(value: Any) -> str:
    if datetime.fromisoformat(_words(value)).tzinfo is None:
        raise ValueError("not an instant")
    return str(value)


def _line(row: dict[str, Any]) -> StatementLine:
    kind, sign = STATEMENT_KINDS[row["kind"]]
    return StatementLine(
        kind=kind,
        our_reference=_words_if_any(row["reference"]),
        provider_reference=_words_if_any(row["provider_reference"]),
        amount=sign * _whole(row["amount"]),
        currency=_words(row["currency"]),
        fee=None if row["fee"] is None else _whole(row["fee"]),
        at=_instant(row["at"]),
    )


ANSWERS: Mapping[str, Callable[[dict[str, Any]], Answer]] = {
    "succeeded": _succeeded,
    "declined": _declined,
    "pending": _pending,
    "waiting": _waiting,
    "cancelled": lambda _body: Withdrawn(),
    "expired": lambda _body: Withdrawn(),
    "reversed": lambda _body: Withdrawn(),
}
"""``status`` in the body of an answer → what it means."""


class SandboxProvider:
    """Charges, asks and withdraws at the sandbox provider. One connection pool per process."""

    name = NAME
    deduplicates = True

    def __init__(self, settings: Settings) -> None:
        self.max_processing_seconds = settings.sandbox_max_processing_seconds
        self._url = (settings.sandbox_url or "").rstrip("/")
        self._timeout = aiohttp.ClientTimeout(
            total=settings.sandbox_timeout_seconds, sock_connect=CONNECT_TIMEOUT_SECONDS
        )
        key = settings.sandbox_api_key.get_secret_value() if settings.sandbox_api_key else ""
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._limit = settings.calls_in_flight
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def open(cls, settings: Settings) -> "SandboxProvider | None":
        """The provider, where the settings say its address."""
        return cls(settings) if settings.sandbox_url else None

    async def charge(self, charge: Charge) -> Outcome:
        """Charge at once, or create a code for the customer to scan (``qr`` with ``mpm``)."""
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
        elif charge.facts.get("provider_token"):
            body["token"] = charge.facts["provider_token"]
        if charge.method_type == "qr" and charge.method_mode != "mpm":
            body["kind"] = "qr_cpm"  # or it would be a card, with a card's brand
        answer = await self._ask("POST", path, body)
        if isinstance(answer, NotFound):  # no answer to a charge: whoever said so may not be who was to charge
            return Unknown("the provider answered 404")
        # A code that was withdrawn before it was charged moves no money, which to a charge is a decline.
        return answer if not isinstance(answer, Withdrawn) else Declined("cancelled", "Withdrawn before")

    async def inquire(self, charge: Charge) -> Answer:
        """Ask what became of ``charge``."""
        answer = await self._ask("GET", f"/v1/charges/{charge.reference}", None, refusal=None)
        return Unavailable(answer.reason) if isinstance(answer, Unknown) else answer

    async def withdraw(self, charge: Charge) -> Answer:
        """Cancel ``charge``; a 409 brings the charge that was quicker."""
        return await self._ask("POST", f"/v1/charges/{charge.reference}/cancel", {}, refusal=None)

    async def reverse(self, charge: Charge) -> Answer:
        """Undo ``charge``, fee included; refused once some of it was refunded."""
        return await self._ask("POST", f"/v1/charges/{charge.reference}/reverse", {}, refusal=None)

    async def give_back(self, refund: GiveBack) -> Outcome:
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
        answer = await self._ask("POST", "/v1/refunds", body)
        # The charge is ours and completed, so a provider that does not find it has lost or hides something.
        return (
            answer if not isinstance(answer, NotFound | Withdrawn) else Unknown("the provider does not know the charge")
        )

    async def inquire_refund(self, refund: GiveBack) -> Answer:
        """Ask what became of ``refund``."""
        answer = await self._ask("GET", f"/v1/refunds/{refund.reference}", None, refusal=None)
        return Unavailable(answer.reason) if isinstance(answer, Unknown) else answer

    async def statement(
        self, account: str, *, start: datetime, end: datetime
    ) -> AsyncIterator[list[StatementLine] | Unavailable]:
        """The lines of ``account`` in ``[start, end)``, a page at a time: no more than one is in memory."""
        query = {"account": account, "from": start.isoformat(), "to": end.isoformat(), "limit": str(STATEMENT_PAGE)}
        following: str | None = ""
        while following is not None:
            page = await self._page({**query, "cursor": following})
            if isinstance(page, Unavailable):
                yield page
                return
            lines, following = page
            yield lines

    async def _page(self, query: dict[str, str]) -> tuple[list[StatementLine], str | None] | Unavailable:
        """One page and where the next begins. Reading moves nothing, so whatever goes wrong may be tried again."""
        try:
            async with self._pool().get(f"{self._url}/v1/statements", params=query) as response:
                raw = await response.read()
            if response.status != OK:
                return Unavailable(f"the provider answered {response.status}")
            body = orjson.loads(raw)
            return [_line(row) for row in body["data"]], _words_if_any(body["next"])
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Unavailable(f"no answer: {type(error).__name__}")
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            return Unavailable(f"unreadable statement: {type(error).__name__}")

    async def close(self) -> None:
        """Close the connection pool."""
        if self._session:
            await self._session.close()

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None, *, refusal: int | None = REFUSED
    ) -> Answer:
        try:
            # No redirects: the call has arrived where it was sent, and what somebody else says of it is no answer.
            async with self._pool().request(
                method,
                self._url + path,
                data=orjson.dumps(body) if body is not None else None,
                allow_redirects=False,
            ) as response:
                retry_after = response.headers.get("Retry-After")
                return _read(response.status, await response.read(), retry_after, refusal=refusal)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Unavailable(f"no connection: {type(error).__name__}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Unknown(f"no answer: {type(error).__name__}")

    def _pool(self) -> aiohttp.ClientSession:
        # Made at the first call, since a session belongs to the event loop that is running then.
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._limit, keepalive_timeout=KEEPALIVE_SECONDS)
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, timeout=self._timeout, auto_decompress=False
            )
        return self._session


def _read(status: int, raw: bytes, retry_after: str | None, *, refusal: int | None = REFUSED) -> Answer:
    """What an answer means; ``refusal`` is the status by which what was asked for is refused for good."""
    if status in NOTHING_DONE:
        seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
        return Unavailable(f"the provider answered {status}", seconds)
    if status == MISSING:
        return NotFound()
    try:
        body = orjson.loads(raw)
        if status == refusal:
            return Declined("refused_by_provider", _prose(body["error"]["message"]))
        if status in (OK, CONFLICT):
            return ANSWERS[body["status"]](body)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return Unknown(f"unreadable answer with status {status}")
    return Unknown(f"the provider answered {status}")
