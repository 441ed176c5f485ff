"""The life cycle of a settlement. It has no way back: corrections are lines of a later settlement."""

from enum import StrEnum

from workflows.state_machine import StateMachine, Transition


class SettlementStatus(StrEnum):
    OPEN = "open"  # transactions accumulate
    CLOSED = "closed"  # frozen, ready for reconciliation
    RECONCILED = "reconciled"  # signed off: agrees with the statements, or every difference is explained


class SettlementEvent(StrEnum):
    CLOSE = "close"
    RECONCILE = "reconcile"


class SettlementRemark(StrEnum):
    COUNT_CASH = "count_cash"  # the drawer was counted
    COMPARE = "compare"  # a reconciliation run left breaks


SETTLEMENT = StateMachine(
    name="settlement",
    initial=(SettlementStatus.OPEN,),
    transitions=(
        Transition(SettlementStatus.OPEN, SettlementEvent.CLOSE, SettlementStatus.CLOSED),
        Transition(SettlementStatus.CLOSED, SettlementEvent.RECONCILE, SettlementStatus.RECONCILED),
    ),
    remarks=tuple(SettlementRemark),
)
