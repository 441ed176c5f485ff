"""The statuses of an order and the transitions between them.

A paid order may be cancelled only after all its payments were refunded in full. The transition is listed here; ``change``
checks the condition.
"""

from enum import StrEnum

from workflows.state_machine import StateMachine, Transition


class OrderStatus(StrEnum):
    DRAFT = "draft"  # not submitted yet
    OPEN = "open"  # submitted, awaiting payment
    PAID = "paid"  # all its bills are paid
    COMPLETED = "completed"  # fulfilled and closed
    CANCELLED = "cancelled"  # withdrawn before it was fulfilled


class OrderEvent(StrEnum):
    SUBMIT = "submit"
    PAY = "pay"
    FULFIL = "fulfil"
    CANCEL = "cancel"


class OrderRemark(StrEnum):
    CHANGE = "change"  # its items, discount, table number or order type were changed


ORDER = StateMachine(
    name="order",
    initial=(OrderStatus.DRAFT,),
    transitions=(
        Transition(OrderStatus.DRAFT, OrderEvent.SUBMIT, OrderStatus.OPEN),
        Transition(OrderStatus.OPEN, OrderEvent.PAY, OrderStatus.PAID),
        Transition(OrderStatus.PAID, OrderEvent.FULFIL, OrderStatus.COMPLETED),
        Transition(OrderStatus.DRAFT, OrderEvent.CANCEL, OrderStatus.CANCELLED),
        Transition(OrderStatus.OPEN, OrderEvent.CANCEL, OrderStatus.CANCELLED),
        Transition(OrderStatus.PAID, OrderEvent.CANCEL, OrderStatus.CANCELLED),
    ),
    remarks=tuple(OrderRemark),
)
