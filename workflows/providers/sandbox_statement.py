"""Read the sandbox provider's statement page by page, within limits.

A page is accepted only if it repeats the account, the period and the cursor of its request. A malformed page ends the
statement with a reason; if the kind of a line is unknown, the reason names it. Reading moves no money, so it may be repeated.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import orjson

from workflows.card_data import mask_digits
from workflows.money import MAX_MOVED
from workflows.providers.base import StatementLine, Unavailable
from workflows.providers.http_client import HttpClient
from workflows.providers.http_reader import HttpAnswer, NoAnswer, NotConnected
from workflows.providers.sandbox_answers import OK, parse_amount, parse_text
from workflows.providers.statement_mapping import StatementMapping

PATH = "/v1/statements"
PAGE_LINES = 2_000
MAX_PAGE_BYTES = 2 * 1024 * 1024  # 2,000 lines whose texts are as long as the provider allows
MAX_PAGES = 2_500  # for five million lines
MAX_BYTES = 1024 * 1024 * 1024  # of all pages; three million usual lines have this size
MAX_EMPTY_PAGES = 3  # consecutive pages without a line, each with a cursor for the next page
MAX_SECONDS = 900.0

KINDS = {"charge": ("payment", 1), "refund": ("refund", -1), "reversal": ("reversal", -1)}

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
"""How an uploaded file of the sandbox's statement is read."""

Page = tuple[list[StatementLine], str | None]


class _Unreadable(Exception):
    """The statement cannot be read; the message is the reason."""


async def read_statement(
    client: HttpClient, account: str, *, start: datetime, end: datetime
) -> AsyncIterator[list[StatementLine] | Unavailable]:
    """Yield pages of the lines of ``account`` in ``[start, end)``.

    ``Unavailable`` is the last item if a page is missing.
    """
    asked = {"account": account, "from": start.isoformat(), "to": end.isoformat()}
    read = _Progress(asyncio.get_running_loop().time() + MAX_SECONDS)
    following: str | None = ""
    while following is not None:
        try:
            lines, following = await _page(client, {**asked, "cursor": following}, read)
            read.advance(following, is_empty=not lines)
        except (NoAnswer, NotConnected) as error:
            yield Unavailable(f"no answer: {error}")
            return
        except _Unreadable as error:
            yield Unavailable(f"unreadable statement: {error}")
            return
        yield lines


@dataclass
class _Progress:
    """How much of a statement has been read. The last page must arrive before the loop's time ``until``."""

    until: float
    size: int = 0
    empty: int = 0
    cursors: set[str] = field(default_factory=lambda: {""})

    def advance(self, following: str | None, *, is_empty: bool) -> None:
        """Count a page, and note ``following``, the cursor of the next page.

        Raises ``_Unreadable`` if the statement does not seem to end.
        """
        if following is None:
            return
        if following in self.cursors:
            raise _Unreadable("a page names a cursor that has been read")
        self.cursors.add(following)
        self.empty = self.empty + 1 if is_empty else 0
        is_late = asyncio.get_running_loop().time() > self.until
        if self.empty > MAX_EMPTY_PAGES or len(self.cursors) > MAX_PAGES or self.size > MAX_BYTES or is_late:
            raise _Unreadable("it does not end")


async def _page(client: HttpClient, asked: dict[str, str], read: _Progress) -> Page:
    query = urlencode({**asked, "limit": PAGE_LINES})
    async with client.exchange("GET", f"{PATH}?{query}", largest_body=MAX_PAGE_BYTES) as answer:
        read.size += len(answer.body)
        page = _read_page(answer, asked)
        answer.keep_alive()
        return page


def _read_page(answer: HttpAnswer, asked: dict[str, str]) -> Page:
    if answer.status != OK:
        raise _Unreadable(f"the provider answered {answer.status}")
    try:
        body = orjson.loads(answer.body)
        for name, value in asked.items():
            if body[name] != value:
                raise _Unreadable(f"a page names another {name}")
        if len(body["data"]) > PAGE_LINES:
            raise _Unreadable("a page has more lines than were asked for")
        return [_line(row) for row in body["data"]], None if body["next"] is None else parse_text(body["next"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise _Unreadable(f"{type(error).__name__} in a page") from error


def _line(row: dict[str, Any]) -> StatementLine:
    known = KINDS.get(parse_text(row["kind"]))
    if known is None:
        raise _Unreadable(f"unknown kind {mask_digits(row['kind'])!r}")
    kind, sign = known
    amount, fee = _moved(row["amount"]), None if row["fee"] is None else _moved(row["fee"])
    if amount < 0:
        raise _Unreadable("a line has an amount below zero")
    return StatementLine(
        kind=kind,
        our_reference=_masked_if_any(row["reference"]),
        provider_reference=_masked_if_any(row["provider_reference"]),
        amount=sign * amount,
        currency=mask_digits(parse_text(row["currency"])),
        fee=fee,
        at=_instant(row["at"]),
    )


def _moved(value: Any) -> int:
    """Return an amount in minor units.

    Raises ``_Unreadable`` if it is so large that sums of a settlement could overflow.
    """
    if abs(amount := parse_amount(value)) > MAX_MOVED:
        raise _Unreadable(f"a line moves more than {MAX_MOVED} minor units")
    return amount


def _masked_if_any(value: Any) -> str | None:
    return None if value is None else mask_digits(parse_text(value))


def _instant(value: Any) -> str:
    if datetime.fromisoformat(parse_text(value)).tzinfo is None:
        raise ValueError("not a timestamp")
    return str(value)
