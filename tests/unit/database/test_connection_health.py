"""One table, by SQLSTATE, decides which errors of the database pass."""

import psycopg
import pytest

from workflows.database.connection_health import PASSING, Passing, passing

DISCARDED = ["08006", "25006", "25P02", "25P03", "26000", "42501", "57P01", "57P02", "57P03", "57P05"]
KEPT = ["40001", "40P01", "53100", "53200", "53300", "55P03", "57014", "58030"]
OURS = ["22003", "23505", "23514", "42601", "42703", "42P01", "XX000", "0A000"]


def error(state: str, *said: str) -> psycopg.Error:
    return psycopg.errors.lookup(state)(*said)


@pytest.mark.parametrize(
    ("states", "expected"), [(DISCARDED, Passing.DISCARD), (KEPT, Passing.KEEP), (OURS, None)], ids=str
)
def test_a_state_says_whether_the_error_passes(states: list[str], expected: Passing | None) -> None:
    assert {state: passing(error(state)) for state in states} == dict.fromkeys(states, expected)


def test_a_plan_that_a_migration_invalidated_is_made_again() -> None:
    assert passing(error("0A000", "cached plan must not change result type")) is Passing.DISCARD


def test_an_error_without_a_state_is_a_lost_connection_if_the_driver_calls_it_operational() -> None:
    assert passing(psycopg.OperationalError("consuming input failed")) is Passing.DISCARD
    assert passing(psycopg.ProgrammingError("the query has 1 placeholder")) is None
    assert passing(ValueError("no")) is None
    assert passing(None) is None


def test_no_prefix_hides_another() -> None:
    for state, what in PASSING.items():
        assert not [other for other in PASSING if other != state and state.startswith(other) and PASSING[other] != what]
