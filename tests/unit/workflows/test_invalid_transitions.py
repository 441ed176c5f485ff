"""A refused status change names the requested operation, and the possible ones, as their routes do."""

import pytest

from workflows.devices.states import DEVICE, DeviceEvent
from workflows.orders.states import ORDER, OrderEvent, OrderRemark
from workflows.payments.states import PAYMENT, PaymentEvent
from workflows.settlements.states import SETTLEMENT, SettlementEvent, SettlementRemark
from workflows.state_machine import StateMachine
from workflows.transitions import invalid_transition_error


@pytest.mark.parametrize(
    ("machine", "status", "event", "message"),
    [
        (ORDER, "open", OrderEvent.FULFIL, "This order is open and cannot be completed"),
        (ORDER, "open", OrderEvent.SUBMIT, "This order is open and cannot be submitted"),
        (ORDER, "completed", OrderEvent.CANCEL, "This order is completed and cannot be cancelled"),
        (ORDER, "completed", OrderRemark.CHANGE, "This order is completed and cannot be changed"),
        (ORDER, "draft", "be billed", "This order is draft and cannot be billed"),
        (PAYMENT, "completed", PaymentEvent.CANCEL, "This payment is completed and cannot be cancelled"),
        (DEVICE, "active", DeviceEvent.ACTIVATE, "This device is active and cannot be activated"),
        (DEVICE, "active", DeviceEvent.RESUME, "This device is active and cannot be resumed"),
        (DEVICE, "deactivated", DeviceEvent.SUSPEND, "This device is deactivated and cannot be suspended"),
        (DEVICE, "deactivated", DeviceEvent.DEACTIVATE, "This device is deactivated and cannot be deactivated"),
        (SETTLEMENT, "open", SettlementEvent.RECONCILE, "This settlement is open and cannot be reconciled"),
        (SETTLEMENT, "closed", SettlementEvent.CLOSE, "This settlement is closed and cannot be closed"),
        (SETTLEMENT, "open", SettlementRemark.COUNT_CASH, "This settlement is open and cannot have its cash counted"),
        (SETTLEMENT, "reconciled", "take a statement", "This settlement is reconciled and cannot take a statement"),
    ],
)
def test_a_refusal_names_the_requested_operation_like_its_route(
    machine: StateMachine, status: str, event: str, message: str
) -> None:
    assert invalid_transition_error(machine, status, event).text == message


def test_a_refusal_names_the_possible_operations_like_their_routes() -> None:
    refusal = invalid_transition_error(ORDER, "paid", OrderEvent.SUBMIT)
    assert refusal.details[0].issue == "The order is paid; possible: complete, cancel"
