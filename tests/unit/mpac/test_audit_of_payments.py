"""The payment auditor compares our payments with the provider's movements, and names each kind of disagreement."""

from typing import Any

import pytest

from mpac.audit.payment_audit import SENTENCES, compare_payments
from mpac.audit.provider_ledger import PaymentMovements, ProviderLedger
from mpac.audit.recorded_payments import AuditedPayment


def payment(status: str = "completed", **changes: Any) -> AuditedPayment:
    correct: dict[str, Any] = {
        "id": "pay_1",
        "status": status,
        "due": 1_050,
        "refunded": 0,
        "refund_reserved": 0,
        "currency": "JPY",
        "is_at_provider": True,
        "references": ["pay_1:1", "rfd_1:1"],
    }
    return AuditedPayment(**{**correct, **changes})


def moved(*movements: tuple[str, int], reference: str = "pay_1:1", currency: str = "JPY") -> PaymentMovements:
    total = PaymentMovements()
    for kind, amount in movements:
        total.add({"kind": kind, "amount": amount, "reference": reference, "currency": currency})
    return total


CHARGE, REVERSAL = ("charge", 1_050), ("reversal", 1_050)

AGREE = (
    (payment(), moved(CHARGE)),
    (payment(), moved(CHARGE, CHARGE, REVERSAL)),
    (payment("refunded", refunded=300, refund_reserved=300), moved(CHARGE, ("refund", 300))),
    (payment("refunded", refunded=300, refund_reserved=500), moved(CHARGE, ("refund", 300))),  # one more is requested …
    (
        payment("refunded", refunded=300, refund_reserved=500),
        moved(CHARGE, ("refund", 300), ("refund", 200)),
    ),  # … and made
    (payment("failed"), moved()),
    (payment("failed"), moved(CHARGE, REVERSAL)),
    (payment("cancelled"), moved(CHARGE, ("refund", 1_050))),
    (payment("processing"), moved(CHARGE)),  # charged, but the answer has not arrived yet
    (payment("processing"), moved()),
    (payment("completed", is_at_provider=False), moved()),  # a cash payment
)

DISAGREE = (
    ({"I1", "I2"}, payment(), moved(CHARGE, CHARGE)),
    ({"I1"}, payment("processing"), moved(CHARGE, CHARGE)),
    ({"I2"}, payment(), moved()),
    ({"I2"}, payment(), moved(("charge", 1_049))),
    ({"I2"}, payment(), moved(CHARGE, REVERSAL)),
    ({"I2"}, payment(), moved(CHARGE, currency="USD")),
    ({"I2"}, payment(), moved(CHARGE, ("refund", 1))),
    ({"I2"}, payment("refunded", refunded=300, refund_reserved=300), moved(CHARGE)),
    ({"I3"}, payment("failed"), moved(CHARGE)),
    ({"I3"}, payment("cancelled"), moved(CHARGE, ("refund", 1_049))),
    ({"unknown"}, payment("processing"), moved(CHARGE, reference="pay_1:2")),
    ({"unknown"}, payment("processing", references=[]), moved(CHARGE)),
    ({"unknown"}, payment("completed", is_at_provider=False), moved(CHARGE)),
    ({"unknown"}, None, moved(CHARGE)),
)


def broken_rules(one: AuditedPayment | None, other: PaymentMovements) -> set[str]:
    ledger = ProviderLedger(movements=1, by_payment={"pay_1": other} if other.references else {})
    return {broken.rule for broken in compare_payments({"pay_1": one} if one else {}, ledger).broken}


@pytest.mark.parametrize(("ours", "theirs"), AGREE)
def test_no_difference_is_reported_if_both_ledgers_agree(ours: AuditedPayment, theirs: PaymentMovements) -> None:
    assert broken_rules(ours, theirs) == set()


@pytest.mark.parametrize(("rules", "ours", "theirs"), DISAGREE)
def test_each_disagreement_is_reported_with_its_rule(
    rules: set[str], ours: AuditedPayment | None, theirs: PaymentMovements
) -> None:
    assert broken_rules(ours, theirs) == rules


def test_every_rule_of_the_payment_auditor_has_a_violation_here() -> None:
    assert set().union(*(rules for rules, _, _ in DISAGREE)) == set(SENTENCES)


def test_checked_payments_and_movements_are_counted() -> None:
    recorded = {"pay_1": payment(), "pay_2": payment("failed", id="pay_2"), "pay_3": payment("pending", id="pay_3")}
    found = compare_payments(recorded, ProviderLedger(movements=1, by_payment={"pay_1": moved(CHARGE)}))
    assert found.broken == ()
    assert (found.payments, found.movements) == (3, 1)
    assert found.checked == {"I1": 1, "I2": 1, "I3": 1, "unknown": 1}
