"""Statement lines about an attempt are read as the provider's answer, unless they disagree with the request."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from workflows.providers.base import Succeeded, Withdrawn
from workflows.reconciliation.evidence import AttemptRequest, read_lines
from workflows.reconciliation.models import StatementLineFields

SENT = datetime(2026, 11, 30, 12, tzinfo=UTC)
STORED = SENT + timedelta(days=1)
ASKED = AttemptRequest("payment", 1_000, "JPY", "ref-1", SENT)


def line(**changes: Any) -> StatementLineFields:
    made = {"line_number": 2, "kind": "payment", "amount": 1_000, "fee": 32, "currency": "JPY"}
    whole = {**made, "provider_reference": "ref-1", "occurred_at": SENT.isoformat(), "occurred_on": None, **changes}
    return cast(StatementLineFields, whole)


@pytest.mark.parametrize(
    "agreeing",
    [
        {},
        {"provider_reference": None},
        {"occurred_at": (SENT - timedelta(minutes=59)).isoformat()},
        {"occurred_at": STORED.isoformat()},
        {"occurred_at": None, "occurred_on": "2026-11-29"},  # the date in a zone west of ours
        {"occurred_at": None, "occurred_on": "2026-12-01"},
        {"occurred_at": None},
    ],
)
def test_a_line_that_agrees_with_the_request_is_a_success(agreeing: dict[str, Any]) -> None:
    told = line(**agreeing)
    found = read_lines([told], ASKED, stored_at=STORED)
    assert found.answer == Succeeded(1_000, told["provider_reference"], fee=32)
    assert found.lines == (told,)


def test_a_line_without_a_fee_is_a_success_without_a_fee() -> None:
    assert read_lines([line(fee=None)], ASKED, stored_at=STORED).answer == Succeeded(1_000, "ref-1")


@pytest.mark.parametrize(
    ("disagreeing", "issue"),
    [
        ({"currency": "USD"}, "is in USD, not JPY"),
        ({"provider_reference": "ref-2"}, "reference ref-2, not ref-1"),
        ({"occurred_at": (SENT - timedelta(minutes=61)).isoformat()}, "it was sent at"),
        ({"occurred_at": (STORED + timedelta(minutes=61)).isoformat()}, "it was sent at"),
        ({"occurred_at": None, "occurred_on": "2026-11-28"}, "it was sent on 2026-11-30"),
        ({"occurred_at": None, "occurred_on": "2026-12-03"}, "it was sent on 2026-11-30"),
        ({"amount": -1_000}, "a payment of -1000"),
        ({"amount": 0}, "a payment of 0"),
        ({"kind": "reversal"}, "a reversal of 1000"),
        ({"kind": "reversal", "amount": -1_000}, "more reversals of it than charges"),
        ({"kind": "refund", "amount": -1_000}, "does not list it"),
    ],
)
def test_a_line_that_disagrees_with_the_request_is_not_an_answer(disagreeing: dict[str, Any], issue: str) -> None:
    found = read_lines([line(**disagreeing)], ASKED, stored_at=STORED)
    assert found.answer is None
    assert issue in (found.issue or "")


def test_an_attempt_without_a_line_has_no_answer() -> None:
    assert read_lines([], ASKED, stored_at=STORED).answer is None


def test_one_disagreeing_line_invalidates_the_others() -> None:
    assert read_lines([line(), line(currency="USD")], ASKED, stored_at=STORED).answer is None


@pytest.mark.parametrize(
    ("amounts", "answer"),
    [
        ([1_000, 1_000], Succeeded(1_000, "ref-1", fee=32)),  # charged twice, but completed once
        ([1_000, -1_000], Withdrawn()),
        ([1_000, -1_000, 1_000], Succeeded(1_000, "ref-1", fee=32)),
        ([1_000, -400, -600], Withdrawn()),
        ([900, -900], Withdrawn()),
        ([1_000, -400], Succeeded(600, "ref-1", fee=64)),  # not the requested amount: the decision requests a review
        ([400, 600], Succeeded(1_000, "ref-1", fee=64)),
        ([1_000, 5], Succeeded(1_005, "ref-1", fee=64)),
        ([1_000, -1_000, -1_000], None),
    ],
)
def test_the_lines_of_an_attempt_are_read_together(amounts: list[int], answer: object) -> None:
    lines = [line(amount=one, kind="payment" if one > 0 else "reversal") for one in amounts]
    assert read_lines(lines, ASKED, stored_at=STORED).answer == answer


def test_a_refund_is_read_from_refund_lines_only() -> None:
    asked = AttemptRequest("refund", 400, "JPY", None, SENT)
    told = line(kind="refund", amount=-400, fee=0)
    assert read_lines([told], asked, stored_at=STORED).answer == Succeeded(400, "ref-1")
    assert read_lines([told, told], asked, stored_at=STORED).answer == Succeeded(400, "ref-1")
    undone = line(kind="reversal", amount=400)
    assert read_lines([told, undone], asked, stored_at=STORED).answer is None
