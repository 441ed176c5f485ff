"""Test the balance arithmetic of a bill, without a database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.bills.balance import (
    Balance,
    BillStep,
    pay_amount,
    refund_amount,
    release_amount,
    reserve_amount,
    share_of_refund,
)
from workflows.bills.states import BILL, BillStatus
from workflows.errors import BalanceUnavailable, InvalidStatusTransition


def test_reservation_above_the_balance_is_refused_with_the_amount_left() -> None:
    with pytest.raises(BalanceUnavailable) as refused:
        reserve_amount(Balance("partially_paid", total=1000, paid=300, reserved=500), 201)
    details = {detail.field: detail.issue for detail in refused.value.details}
    assert details["balance_amount"] == "200"
    assert (details["paid_amount"], details["reserved_amount"]) == ("300", "500")
    assert "200" in details["amount"]


def test_a_voided_bill_is_not_paid() -> None:
    with pytest.raises(InvalidStatusTransition) as refused:
        reserve_amount(Balance("voided", total=1000), 1)
    assert "voided" in refused.value.details[0].issue


def test_a_bill_walks_from_unpaid_to_paid_and_its_refunds_do_not_reopen_it() -> None:
    steps: list[BillStep] = []
    balance = Balance("unpaid", total=100)
    walk = [(reserve_amount, 60), (reserve_amount, 40), (pay_amount, 60), (release_amount, 40), (reserve_amount, 40)]
    for step, amount in [*walk, (pay_amount, 40), (refund_amount, 100)]:
        steps.append(step(balance, amount))
        balance = steps[-1].after
    assert [step.event for step in steps] == [
        "reserve",
        "reserve",
        "pay_part",
        "release",
        "reserve",
        "pay_whole",
        "give_back_paid",
    ]
    assert balance == Balance("paid", total=100, paid=100, refunded=100)
    assert balance.available == 0


def test_partly_paid_bill_is_unpaid_again_after_a_full_refund() -> None:
    balance = Balance("partially_paid", total=100, paid=60)
    part = refund_amount(balance, 20)
    assert (part.event, part.after.status, part.after.available) == ("give_back_part", "partially_paid", 60)
    whole = refund_amount(part.after, 40)
    assert (whole.event, whole.after) == ("give_back", Balance("unpaid", total=100))


@pytest.mark.parametrize(
    ("amount", "before", "refund", "share"),
    [(1000, 0, 300, 300), (1000, 300, 700, 700), (1000, 0, 1100, 1000), (1000, 900, 200, 100), (1000, 1000, 100, 0)],
)
def test_tip_is_refunded_last(amount: int, before: int, refund: int, share: int) -> None:
    assert share_of_refund(amount=amount, refunded_before=before, refund=refund) == share


@given(st.integers(1, 1000), st.lists(st.integers(0, 2), max_size=60), st.data())
def test_random_steps_keep_amounts_and_status_consistent(total: int, moves: list[int], data: st.DataObject) -> None:
    balance, held, kept = Balance("unpaid", total=total), list[int](), list[int]()
    for move in moves:
        before = balance
        if move == 0 and balance.available:
            amount = data.draw(st.integers(1, balance.available))
            step = reserve_amount(balance, amount)
            held.append(amount)
        elif move == 1 and held:
            amount = held.pop()
            completes = data.draw(st.booleans())
            step = pay_amount(balance, amount) if completes else release_amount(balance, amount)
            kept += [amount] if completes else []
        elif move == 2 and kept:
            step = refund_amount(balance, kept.pop())
        else:
            continue
        balance = step.after
        if step.event in BILL.remarks:
            assert balance.status == before.status
        else:
            assert BILL.target(before.status, step.event) == balance.status
        assert balance.reserved == sum(held)
        assert balance.paid - balance.refunded == sum(kept)
        assert balance.paid + balance.reserved <= total
        assert (balance.status == BillStatus.PAID) == (balance.paid == total)
        assert (balance.status == BillStatus.UNPAID) == (balance.paid == 0)
