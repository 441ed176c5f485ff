"""A table of SQLSTATEs decides which database errors are transient."""

import psycopg
import pytest

from workflows.database.connection_health import TRANSIENT_ERRORS, TransientError, classify_transient

DISCARDED = ["08006", "25006", "25P02", "25P03", "26000", "42501", "57P01", "57P02", "57P03", "57P05"]
KEPT = ["40001", "40P01", "53100", "53200", "53300", "55P03", "57014", "58030"]
OURS = ["22003", "23505", "23514", "42601", "42703", "42P01", "XX000", "0A000"]


def error(state: str, *said: str) -> psycopg.Error:
    return psycopg.errors.lookup(state)(*said)


@pytest.mark.parametrize(
    ("states", "expected"), [(DISCARDED, TransientError.DISCARD), (KEPT, TransientError.KEEP), (OURS, None)], ids=str
)
def test_sqlstate_decides_whether_an_error_is_transient(states: list[str], expected: TransientError | None) -> None:
    assert {state: classify_transient(error(state)) for state in states} == dict.fromkeys(states, expected)


def test_a_statement_whose_plan_a_migration_invalidated_is_retried() -> None:
    assert classify_transient(error("0A000", "cached plan must not change result type")) is TransientError.DISCARD


def test_an_operational_error_without_a_sqlstate_is_a_lost_connection() -> None:
    assert classify_transient(psycopg.OperationalError("consuming input failed")) is TransientError.DISCARD
    assert classify_transient(psycopg.ProgrammingError("the query has 1 placeholder")) is None
    assert classify_transient(ValueError("no")) is None
    assert classify_transient(None) is None


def test_no_sqlstate_prefix_hides_another() -> None:
    for state, what in TRANSIENT_ERRORS.items():
        assert not [
            other
            for other in TRANSIENT_ERRORS
            if other != state and state.startswith(other) and TRANSIENT_ERRORS[other] != what
        ]
