"""Reading a fetched statement always ends, accepts only pages of its own request, and reports unknown values."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.providers.conftest import Run
from tests.integration.providers.peer import Heard, http, peer_of, say
from workflows.providers import sandbox_statement
from workflows.providers.base import StatementLine, Unavailable
from workflows.providers.sandbox_statement import MAX_EMPTY_PAGES, MAX_PAGE_BYTES, PAGE_LINES
from workflows.settings import Settings

START, END = datetime(2026, 11, 29, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC)
LINE = {
    "kind": "charge",
    "reference": "pay_a:1",
    "provider_reference": "sbx_a",
    "amount": 1_000,
    "currency": "JPY",
    "fee": 32,
    "at": "2026-11-29T09:00:00Z",
}
Page = Callable[[dict[str, str]], dict[str, Any]]
Pages = list[list[StatementLine] | Unavailable]


def page(asked: dict[str, str], *, data: Any = (LINE,), following: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return a valid page for the query ``asked``, changed by ``changes``."""
    echoed = {name: asked[name] for name in ("account", "from", "to", "cursor")}
    return {**echoed, "data": list(data), "next": following, **changes}


def read(run: Run, settings: Settings, make: Page, **changes: Any) -> tuple[Pages, int]:
    """Read a statement from a peer that sends the pages of ``make``.

    Return the result and the number of requests.
    """
    pages: Pages = []
    asked = 0

    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        query = parse_qs(urlsplit(heard.path).query, keep_blank_values=True)
        await say(writer, http(200, make({name: values[0] for name, values in query.items()})))

    async def scenario() -> None:
        async with peer_of(settings, script, **changes) as (_, provider):
            pages.extend([one async for one in provider.statement("sto_a", start=START, end=END)])

    run(scenario())
    return pages, asked


def following(asked: dict[str, str]) -> str:
    """Return the cursor of the page after the one that ``asked`` requests."""
    return str(int(asked["cursor"] or 0) + 1)


def test_all_pages_of_a_statement_are_read_in_order(run: Run, settings: Settings) -> None:
    pages, asked = read(
        run, settings, lambda asked: page(asked, following=following(asked) if asked["cursor"] != "2" else None)
    )
    line = StatementLine("payment", "pay_a:1", "sbx_a", 1_000, "JPY", 32, "2026-11-29T09:00:00Z")
    assert (pages, asked) == ([[line], [line], [line]], 3)


@pytest.mark.parametrize("name", ["account", "from", "to", "cursor"])
@pytest.mark.parametrize("said", ["another", None, "missing"])
def test_a_page_of_another_statement_is_refused(run: Run, settings: Settings, name: str, said: str | None) -> None:
    def make(asked: dict[str, str]) -> dict[str, Any]:
        made = page(asked, **{name: said})
        if said == "missing":
            del made[name]
        return made

    pages, _ = read(run, settings, make)
    assert len(pages) == 1
    assert isinstance(pages[0], Unavailable)


@pytest.mark.parametrize("cursors", [["1", "1"], ["1", "2", "1"], [""], ["1", ""]])
def test_a_repeated_cursor_ends_the_statement(run: Run, settings: Settings, cursors: list[str]) -> None:
    left = iter(cursors)
    pages, asked = read(run, settings, lambda asked: page(asked, following=next(left)))
    assert pages[-1] == Unavailable("unreadable statement: a page names a cursor that has been read")
    assert asked == len(cursors)


def test_endless_empty_pages_end_the_statement(run: Run, settings: Settings) -> None:
    pages, asked = read(run, settings, lambda asked: page(asked, data=(), following=following(asked)))
    assert pages[-1] == Unavailable("unreadable statement: it does not end")
    assert asked == MAX_EMPTY_PAGES + 1


def test_a_few_empty_pages_are_skipped(run: Run, settings: Settings) -> None:
    def make(asked: dict[str, str]) -> dict[str, Any]:
        is_empty = asked["cursor"] in ("1", "2", "4")
        return page(
            asked, data=() if is_empty else (LINE,), following=None if asked["cursor"] == "5" else following(asked)
        )

    pages, _ = read(run, settings, make)
    assert [len(one) for one in pages if isinstance(one, list)] == [1, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(("bound", "highest"), [("MAX_PAGES", 20), ("MAX_BYTES", 5_000), ("MAX_SECONDS", 0.1)])
def test_a_statement_without_an_end_is_broken_off(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch, bound: str, highest: float
) -> None:
    monkeypatch.setattr(sandbox_statement, bound, highest)
    pages, asked = read(run, settings, lambda asked: page(asked, following=following(asked)))
    assert pages[-1] == Unavailable("unreadable statement: it does not end")
    assert len(pages) == asked
    assert bound != "MAX_PAGES" or asked == 20


def test_a_page_with_more_lines_than_were_requested_is_refused(run: Run, settings: Settings) -> None:
    pages, _ = read(run, settings, lambda asked: page(asked, data=[LINE] * (PAGE_LINES + 1)))
    assert pages == [Unavailable("unreadable statement: a page has more lines than were asked for")]


def test_a_page_that_is_too_large_is_refused(run: Run, settings: Settings) -> None:
    pages, _ = read(run, settings, lambda asked: page(asked, padding="x" * MAX_PAGE_BYTES))
    assert pages == [Unavailable("no answer: the answer is too large")]


def test_a_full_page_of_the_longest_lines_fits(run: Run, settings: Settings) -> None:
    longest = {
        **LINE,
        "reference": "r" * 200,
        "payment_id": "p" * 200,
        "provider_reference": "s" * 200,
        "line_id": "l" * 17,
    }
    longest |= {"amount": 10**12, "fee": 10**12, "settled_on": "2026-12-01"}
    pages, _ = read(run, settings, lambda asked: page(asked, data=[longest] * PAGE_LINES))
    assert [len(one) for one in pages if isinstance(one, list)] == [PAGE_LINES]


@pytest.mark.parametrize("kind", ["dispute", "payout", "Charge", ""])
def test_an_unknown_kind_is_reported_and_no_line_is_left_out(run: Run, settings: Settings, kind: str) -> None:
    pages, _ = read(run, settings, lambda asked: page(asked, data=[LINE, {**LINE, "kind": kind}]))
    assert pages == [Unavailable(f"unreadable statement: unknown kind {kind!r}")]


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": -1},
        {"amount": "1000"},
        {"amount": 1.5},
        {"amount": 2**63},
        {"fee": "32"},
        {"currency": None},
        {"at": "2026-11-29"},
        {"at": "2026-11-29T09:00:00"},
        {"reference": 7},
        {"provider_reference": "a\x00b"},
        {"kind": ["charge"]},
    ],
    ids=str,
)
def test_a_line_that_cannot_be_read_ends_the_statement(run: Run, settings: Settings, changes: dict[str, Any]) -> None:
    pages, _ = read(run, settings, lambda asked: page(asked, data=[{**LINE, **changes}]))
    assert len(pages) == 1
    assert isinstance(pages[0], Unavailable)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"<html>", b'{"data": []}', b'{"error": {"code": "unavailable"}}']
)
@pytest.mark.parametrize("status", [200, 404, 429, 503])
def test_an_answer_that_is_not_a_page_ends_the_statement(
    run: Run, settings: Settings, status: int, body: bytes
) -> None:
    async def script(_: Heard, writer: asyncio.StreamWriter) -> None:
        await say(writer, http(status, body))

    async def scenario() -> None:
        async with peer_of(settings, script) as (_, provider):
            pages = [one async for one in provider.statement("sto_a", start=START, end=END)]
        assert [type(one) for one in pages] == [Unavailable]

    run(scenario())


@pytest.mark.parametrize("name", ["reference", "provider_reference", "currency"])
def test_a_card_number_in_a_line_is_masked(run: Run, settings: Settings, name: str) -> None:
    pages, _ = read(run, settings, lambda asked: page(asked, data=[{**LINE, name: "card 4242 4242 4242 4242"}]))
    assert isinstance(pages[0], list)
    assert "4242" not in repr(pages)


def test_a_card_number_in_place_of_a_kind_is_not_repeated(run: Run, settings: Settings) -> None:
    pages, _ = read(run, settings, lambda asked: page(asked, data=[{**LINE, "kind": "4242424242424242"}]))
    assert isinstance(pages[0], Unavailable)
    assert "4242" not in repr(pages)


@pytest.mark.parametrize("changed", [{"amount": 2**63 - 1}, {"fee": 2**63 - 1}, {"fee": -(2**63) + 1}])
def test_a_line_that_would_overflow_the_sums_of_a_settlement_ends_the_statement(
    run: Run, settings: Settings, changed: dict[str, int]
) -> None:
    pages, _ = read(run, settings, lambda asked: page(asked, data=({**LINE, **changed},)))
    assert len(pages) == 1
    assert isinstance(pages[0], Unavailable)
    assert "minor units" in pages[0].reason
