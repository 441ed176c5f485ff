"""The statuses of a bill and the transitions between them.

Payments and refunds change the status of a bill; no route sets a bill to paid.
"""

from enum import StrEnum

from workflows.state_machine import StateMachine, Transition


class BillStatus(StrEnum):
    UNPAID = "unpaid"  # nothing was paid, or all of it was refunded
    PARTIALLY_PAID = "partially_paid"  # something was paid, a balance remains
    PAID = "paid"  # paid in full
    VOIDED = "voided"  # withdrawn while nothing was paid or reserved


class BillEvent(StrEnum):
    PAY_PART = "pay_part"
    PAY_WHOLE = "pay_whole"
    GIVE_BACK = "give_back"
    VOID = "void"


class BillRemark(StrEnum):
    PAY_MORE = "pay_more"  # a further part was paid, a balance still remains
    RESERVE = "reserve"  # a payment reserved an amount
    RELEASE = "release"  # a payment ended without moving money
    GIVE_BACK_PART = "give_back_part"  # a part was refunded, a part is still paid
    GIVE_BACK_PAID = "give_back_paid"  # some or all was refunded after the bill was paid in full; it stays paid


LIVE = "(b.status <> 'voided' AND NOT (b.status = 'paid' AND b.refunded_amount = b.paid_amount))"
"""SQL condition that the bill ``b`` is live: neither voided, nor paid and refunded in full.
"""


BILL = StateMachine(
    name="bill",
    initial=(BillStatus.UNPAID,),
    transitions=(
        Transition(BillStatus.UNPAID, BillEvent.PAY_PART, BillStatus.PARTIALLY_PAID),
        Transition(BillStatus.UNPAID, BillEvent.PAY_WHOLE, BillStatus.PAID),
        Transition(BillStatus.PARTIALLY_PAID, BillEvent.PAY_WHOLE, BillStatus.PAID),
        Transition(BillStatus.PARTIALLY_PAID, BillEvent.GIVE_BACK, BillStatus.UNPAID),
        Transition(BillStatus.UNPAID, BillEvent.VOID, BillStatus.VOIDED),
    ),
    remarks=tuple(BillRemark),
)
