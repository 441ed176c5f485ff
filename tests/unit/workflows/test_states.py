"""The six transition tables match behaviour §4, and define the result of every event in every status."""

from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.bills.states import BILL
from workflows.devices.states import DEVICE
from workflows.orders.states import ORDER
from workflows.payments.states import PAYMENT
from workflows.processing.decision import Event, FinalStatus, Remark
from workflows.refunds.states import REFUND
from workflows.settlements.states import SETTLEMENT
from workflows.state_machine import StateMachine, Transition

MACHINES = (PAYMENT, REFUND, ORDER, BILL, DEVICE, SETTLEMENT)

# Copied by hand from the specification, so that an error in a table is noticed.
PROMISED: dict[str, set[tuple[str, str, str]]] = {
    "payment": {
        ("pending", "claim", "processing"),
        ("processing", "complete", "completed"),
        ("processing", "fail", "failed"),
        ("processing", "cancel", "cancelled"),
        ("completed", "refund", "refunded"),
    },
    "refund": {
        ("pending", "claim", "processing"),
        ("processing", "complete", "completed"),
        ("processing", "fail", "failed"),
    },
    "order": {
        ("draft", "submit", "open"),
        ("open", "pay", "paid"),
        ("paid", "fulfil", "completed"),
        ("draft", "cancel", "cancelled"),
        ("open", "cancel", "cancelled"),
        ("paid", "cancel", "cancelled"),
    },
    "bill": {
        ("unpaid", "pay_part", "partially_paid"),
        ("unpaid", "pay_whole", "paid"),
        ("partially_paid", "pay_whole", "paid"),
        ("partially_paid", "give_back", "unpaid"),
        ("unpaid", "void", "voided"),
    },
    "device": {
        ("pending_activation", "activate", "active"),
        ("active", "suspend", "suspended"),
        ("suspended", "resume", "active"),
        ("pending_activation", "deactivate", "deactivated"),
        ("active", "deactivate", "deactivated"),
        ("suspended", "deactivate", "deactivated"),
    },
    "settlement": {("open", "close", "closed"), ("closed", "reconcile", "reconciled")},
}
STATUSES: dict[str, set[str]] = {
    "payment": {"pending", "processing", "completed", "failed", "refunded", "cancelled"},
    "refund": {"pending", "processing", "completed", "failed"},
    "order": {"draft", "open", "paid", "completed", "cancelled"},
    "bill": {"unpaid", "partially_paid", "paid", "voided"},
    "device": {"pending_activation", "active", "suspended", "deactivated"},
    "settlement": {"open", "closed", "reconciled"},
}
FINAL: dict[str, set[str]] = {
    "payment": {"failed", "refunded", "cancelled"},
    "refund": {"completed", "failed"},
    "order": {"completed", "cancelled"},
    "bill": {"paid", "voided"},
    "device": {"deactivated"},
    "settlement": {"reconciled"},
}
BEGINNINGS = {
    "payment": "pending",
    "refund": "pending",
    "order": "draft",
    "bill": "unpaid",
    "device": "pending_activation",
    "settlement": "open",
}

every_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
EVERY_QUESTION = [
    (machine, str(status), str(event))
    for machine in MACHINES
    for status in machine.statuses
    for event in (*machine.events, *machine.remarks, "no_such_event")
]


@every_machine
def test_transition_tables_match_the_specification(machine: StateMachine) -> None:
    edges = {(str(edge.source), str(edge.event), str(edge.target)) for edge in machine.transitions}
    assert edges == PROMISED[machine.name]


@every_machine
def test_the_statuses_are_those_of_the_reference_and_no_others(machine: StateMachine) -> None:
    assert {str(status) for status in machine.statuses} == STATUSES[machine.name]


@every_machine
def test_every_status_can_be_reached_from_the_single_initial_status(machine: StateMachine) -> None:
    assert [str(status) for status in machine.initial] == [BEGINNINGS[machine.name]]
    reached, last = {BEGINNINGS[machine.name]}, set[str]()
    while reached != last:
        last = set(reached)
        reached |= {target for source, _, target in PROMISED[machine.name] if source in last}
    assert reached == STATUSES[machine.name]


@pytest.mark.parametrize(("machine", "status", "event"), EVERY_QUESTION)
def test_every_event_in_every_status_follows_the_table_or_is_refused(
    machine: StateMachine, status: str, event: str
) -> None:
    promised = {target for source, name, target in PROMISED[machine.name] if (source, name) == (status, event)}
    target = machine.target(status, event)
    assert ({str(target)} if target else set()) == promised
    assert (event in machine.possible(status)) == bool(promised)


@every_machine
def test_no_event_leaves_a_final_status(machine: StateMachine) -> None:
    assert {str(status) for status in machine.statuses if machine.is_terminal(status)} == FINAL[machine.name]


@every_machine
def test_no_remark_has_the_name_of_a_status_changing_event(machine: StateMachine) -> None:
    assert not {str(remark) for remark in machine.remarks} & {str(event) for event in machine.events}


@every_machine
@given(data=st.data())
def test_no_sequence_of_events_leaves_the_table_or_a_final_status(machine: StateMachine, data: st.DataObject) -> None:
    status = str(machine.initial[0])
    for event in data.draw(st.lists(st.sampled_from([str(event) for event in machine.events]), max_size=12)):
        target = machine.target(status, event)
        if target is None:
            continue
        assert (status, event, str(target)) in PROMISED[machine.name]
        assert status not in FINAL[machine.name]
        status = str(target)
    assert status in STATUSES[machine.name]


def test_a_table_with_two_targets_for_one_event_is_refused() -> None:
    class Light(StrEnum):
        RED = "red"
        GREEN = "green"

    class Switch(StrEnum):
        TURN = "turn"

    edge = Transition(Light.RED, Switch.TURN, Light.GREEN)
    with pytest.raises(ValueError, match="two edges leave red by turn"):
        StateMachine(
            name="light", initial=(Light.RED,), transitions=(edge, Transition(Light.RED, Switch.TURN, Light.RED))
        )


def test_every_decided_event_and_status_exists_in_the_payment_table() -> None:
    ends = {Event.COMPLETE: FinalStatus.COMPLETED, Event.FAIL: FinalStatus.FAILED, Event.CANCEL: FinalStatus.CANCELLED}
    assert {event: PAYMENT.target("processing", event) for event in Event} == ends
    assert set(map(str, Remark)) <= set(map(str, PAYMENT.remarks))
