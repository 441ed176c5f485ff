"""Render the section about statuses of the API description from each entity's table of transitions."""

from api.openapi.markdown import table
from workflows.bills.states import BILL
from workflows.devices.states import DEVICE
from workflows.orders.states import ORDER
from workflows.payments.states import PAYMENT
from workflows.refunds.states import REFUND
from workflows.settlements.states import SETTLEMENT
from workflows.state_machine import StateMachine, member_comments

MACHINES = (PAYMENT, REFUND, ORDER, BILL, DEVICE, SETTLEMENT)


def render_statuses() -> str:
    """Return a Markdown table for each entity: its statuses, their meanings, and the possible next ones."""
    return "\n\n".join(f"**{machine.name.capitalize()}**\n\n{status_table(machine)}" for machine in MACHINES)


def status_table(machine: StateMachine) -> str:
    """Return the table of one entity's statuses."""
    meaning = member_comments(type(machine.initial[0]))
    rows = [(f"`{status}`", meaning[str(status)], _next(machine, status)) for status in machine.statuses]
    return table(("status", "meaning", "can become"), rows)


def _next(machine: StateMachine, status: str) -> str:
    edges = [f"`{edge.target}` ({edge.event})" for edge in machine.transitions if edge.source == status]
    return ", ".join(edges) or "final"
