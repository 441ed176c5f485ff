"""The database enforces the same transition tables as the code, even against raw SQL."""

import re
from collections.abc import AsyncIterator
from enum import StrEnum

import psycopg
import pytest
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier

from workflows.bills.states import BILL
from workflows.devices.states import DEVICE
from workflows.orders.states import ORDER
from workflows.payments.states import PAYMENT, AttemptOutcome, MessageKind
from workflows.refunds.states import REFUND
from workflows.settlements.states import SETTLEMENT
from workflows.state_machine import StateMachine

MACHINES = (PAYMENT, REFUND, ORDER, BILL, DEVICE, SETTLEMENT)
Connection = psycopg.AsyncConnection[DictRow]

every_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)


async def trigger(admin: Connection, name: str) -> str:
    """Return the definition of a trigger as the database stores it."""
    rows = await admin.execute("SELECT pg_get_triggerdef(oid) AS is FROM pg_trigger WHERE tgname = %s", [name])
    found = await rows.fetchone()
    assert found, f"there is no trigger {name}"
    return str(found["is"])


def quoted(definition: str) -> set[str]:
    """Return every text between single quotes."""
    return set(re.findall(r"'([^']*)'", definition))


@every_machine
async def test_the_check_constraint_lists_exactly_the_statuses(admin: Connection, machine: StateMachine) -> None:
    rows = await admin.execute(
        "SELECT pg_get_constraintdef(oid) AS is FROM pg_constraint WHERE conname = %s AND contype = 'c' AND convalidated",
        [f"{machine.name}s_status"],
    )
    found = await rows.fetchone()
    assert found
    assert quoted(found["is"]) == {str(status) for status in machine.statuses}


@every_machine
async def test_the_update_trigger_allows_exactly_the_transitions(admin: Connection, machine: StateMachine) -> None:
    definition = await trigger(admin, f"{machine.name}s_edges")
    assert {edge for edge in quoted(definition) if len(edge) > 1} == {">".join(edge) for edge in machine.edges()}


@every_machine
async def test_the_insert_trigger_allows_exactly_the_initial_status(admin: Connection, machine: StateMachine) -> None:
    assert quoted(await trigger(admin, f"{machine.name}s_initial")) == {str(status) for status in machine.initial}


@pytest.fixture
async def probe(stack: object, machine: StateMachine, settings: object, admin: Connection) -> AsyncIterator[Connection]:
    """Yield a minimal table with a status and a version, under the triggers of the machine's own table.

    The real tables have other constraints (amounts, keys, dates), which would have to be satisfied for each status first.
    """
    async with await psycopg.AsyncConnection.connect(admin.info.dsn, password=admin.info.password) as own:
        await own.execute("CREATE TEMPORARY TABLE probe (status text NOT NULL, version integer NOT NULL)")
        for kind in ("initial", "edges", "version"):
            definition = await trigger(admin, f"{machine.name}s_{kind}")
            moved = re.sub(r" ON \S+ ", " ON probe ", definition, count=1)
            await own.execute(moved.encode())
        yield own  # type: ignore[misc]  # rows are not looked at
        await own.rollback()


async def outcome(connection: Connection, *statements: str) -> str:
    """Run the statements, roll them back, and return ``done`` or the violated constraint's name."""
    try:
        async with connection.transaction(force_rollback=True):
            for statement in statements:
                await connection.execute(statement.encode())
    except psycopg.errors.CheckViolation as error:
        return error.diag.constraint_name or "?"
    return "done"


def planted(status: str) -> tuple[str, ...]:
    """Return the statements that insert a row in ``status`` without the triggers."""
    return (
        "SET LOCAL session_replication_role = replica",
        f"INSERT INTO probe VALUES ('{status}', 5)",
        "SET LOCAL session_replication_role = origin",
    )


@every_machine
async def test_raw_sql_can_make_every_transition_and_no_other(probe: Connection, machine: StateMachine) -> None:
    legal = set(machine.edges())
    for source in machine.statuses:
        for target in machine.statuses:
            update = f"UPDATE probe SET status = '{target}', version = 6"
            expected = "done" if source == target or (source, target) in legal else f"{machine.name}s_edges"
            assert await outcome(probe, *planted(source), update) == expected, f"{source} → {target}"


@every_machine
async def test_raw_sql_may_insert_rows_only_in_the_initial_status(probe: Connection, machine: StateMachine) -> None:
    for status in machine.statuses:
        expected = "done" if status in machine.initial else f"{machine.name}s_initial"
        assert await outcome(probe, f"INSERT INTO probe VALUES ('{status}', 1)") == expected


@every_machine
async def test_a_version_never_decreases_and_every_status_change_increases_it(
    probe: Connection, machine: StateMachine
) -> None:
    source, target = next(machine.edges())
    refused = f"{machine.name}s_version"
    assert await outcome(probe, *planted(source), "UPDATE probe SET version = 4") == refused
    assert await outcome(probe, *planted(source), f"UPDATE probe SET status = '{target}'") == refused
    assert await outcome(probe, *planted(source), "UPDATE probe SET version = 5") == "done"


@every_machine
@pytest.mark.parametrize("statement", ["UPDATE {} SET event = 'x'", "DELETE FROM {}"])
async def test_rows_of_a_history_cannot_be_changed_or_deleted(
    admin: Connection, machine: StateMachine, statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        await admin.execute(SQL(statement).format(Identifier(f"{machine.name}_history")))


async def test_no_role_of_the_product_may_switch_the_triggers_off(admin: Connection) -> None:
    for role in ("mpac_caller", "mpac_accept", "mpac_worker", "mpac_sweep"):
        rows = await admin.execute(
            "SELECT rolsuper OR rolbypassrls OR rolcreaterole AS is FROM pg_roles WHERE rolname = %s", [role]
        )
        found = await rows.fetchone()
        assert found
        assert found["is"] is False, role


@pytest.mark.parametrize(
    ("constraint", "codes"),
    [("payment_attempts_outcome", AttemptOutcome), ("payment_messages_kind", MessageKind)],
)
async def test_the_codes_of_the_timeline_are_those_of_the_database(
    admin: Connection, constraint: str, codes: type[StrEnum]
) -> None:
    rows = await admin.execute(
        "SELECT pg_get_constraintdef(oid) AS is FROM pg_constraint WHERE conname = %s AND contype = 'c'", [constraint]
    )
    found = await rows.fetchone()
    assert found
    assert quoted(found["is"]) == {str(code) for code in codes}
