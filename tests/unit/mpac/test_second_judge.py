"""The second judge compares what we claim with what the provider moved; each way of disagreeing is named."""

from typing import Any

import pytest

from mpac.audit.ledger import Ledger, Moved
from mpac.audit.payments import Claim
from mpac.audit.provider import SENTENCES, judge


def claim(status: str = "completed", **changes: Any) -> Claim:
    honest: dict[str, Any] = {
        "id": "pay_1",
        "status": status,
        "due": 1_050,
        "refunded": 0,
        "refund_reserved": 0,
        "currency": "JPY",
        "is_at_provider": True,
        "references": ["pay_1:1", "rfd_1:1"],
    }
    return Claim(**{**honest, **changes})


def moved(*movements: tuple[str, int], reference: str = "pay_1:1", currency: str = "JPY") -> Moved:
    total = Moved()
    for kind, amount in movements:
        total.add({"kind": kind, "amount": amount, "reference": reference, "currency": currency})
    return total


CHARGE, REVERSAL = ("charge", 1_050), ("reversal", 1_050)

AGREE = (
    (claim(), moved(CHARGE)),
    (claim(), moved(CHARGE, CHARGE, REVERSAL)),
    (claim("refunded", refunded=300, refund_reserved=300), moved(CHARGE, ("refund", 300))),
    (claim("refunded", refunded=300, refund_reserved=500), moved(CHARGE, ("refund", 300))),  # one more is under way …
    (
        claim("refunded", refunded=300, refund_reserved=500),
        moved(CHARGE, ("refund", 300), ("refund", 200)),
    ),  # … and made
    (claim("failed"), moved()),
    (claim("failed"), moved(CHARGE, REVERSAL)),
    (claim("cancelled"), moved(CHARGE, ("refund", 1_050))),
    (claim("processing"), moved(CHARGE)),  # charged, and we have not heard of it yet
    (claim("processing"), moved()),
    (claim("completed", is_at_provider=False), moved()),  # cash
)

DISAGREE = (
    ({"I1", "I2"}, claim(), moved(CHARGE, CHARGE)),
    ({"I1"}, claim("processing"), moved(CHARGE, CHARGE)),
    ({"I2"}, claim(), moved()),
    ({"I2"}, claim(), moved(("charge", 1_049))),
    ({"I2"}, claim(), moved(CHARGE, REVERSAL)),
    ({"I2"}, claim(), moved(CHARGE, currency="USD")),
    ({"I2"}, claim(), moved(CHARGE, ("refund", 1))),
    ({"I2"}, claim("refunded", refunded=300, refund_reserved=300), moved(CHARGE)),
    ({"I3"}, claim("failed"), moved(CHARGE)),
    ({"I3"}, claim("cancelled"), moved(CHARGE, ("refund", 1_049))),
    ({"unknown"}, claim("processing"), moved(CHARGE, reference="pay_1:2")),
    ({"unknown"}, claim("processing", references=[]), moved(CHARGE)),
    ({"unknown"}, claim("completed", is_at_provider=False), moved(CHARGE)),
    ({"unknown"}, None, moved(CHARGE)),
)


def judged(one: Claim | None, other: Moved) -> set[str]:
    ledger = Ledger(movements=1, by_payment={"pay_1": other} if other.references else {})
    return {broken.rule for broken in judge({"pay_1": one} if one else {}, ledger).broken}


@pytest.mark.parametrize(("ours", "theirs"), AGREE)
def test_two_ledgers_that_agree_are_left_in_peace(ours: Claim, theirs: Moved) -> None:
    assert judged(ours, theirs) == set()


@pytest.mark.parametrize(("rules", "ours", "theirs"), DISAGREE)
def test_each_disagreement_is_named(rules: set[str], ours: Claim | None, theirs: Moved) -> None:
    assert judged(ours, theirs) == rules


def test_every_rule_of_the_second_judge_has_a_violation_here() -> None:
    assert set().union(*(rules for rules, _, _ in DISAGREE)) == set(SENTENCES)


def test_what_was_checked_is_counted() -> None:
    claims = {"pay_1": claim(), "pay_2": claim("failed", id="pay_2"), "pay_3": claim("pending", id="pay_3")}
    judgement = judge(claims, Ledger(movements=1, by_payment={"pay_1": moved(CHARGE)}))
    assert judgement.broken == ()
    assert (judgement.payments, judgement.movements) == (3, 1)
    assert judgement.checked == {"I1": 1, "I2": 1, "I3": 1, "unknown": 1}
