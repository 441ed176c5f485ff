"""The result of a statement of the hot path refuses a wrong number of rows, as SQLAlchemy's result does."""

import pytest
from sqlalchemy.exc import MultipleResultsFound, NoResultFound

from workflows.database.hot_connection import StatementRows

NONE, ONE, TWO = [], [{"id": "a"}], [{"id": "a"}, {"id": "b"}]  # type: ignore[var-annotated]


def test_one_row_is_returned_whole_or_by_its_first_column() -> None:
    rows = StatementRows(ONE, 1)
    assert (rows.one(), rows.one_or_none(), rows.scalar(), rows.scalar_one()) == (ONE[0], ONE[0], "a", "a")


def test_no_row_is_none_unless_one_is_required() -> None:
    rows = StatementRows(NONE, 0)
    assert (rows.one_or_none(), rows.scalar()) == (None, None)
    with pytest.raises(NoResultFound):
        rows.one()
    with pytest.raises(NoResultFound):
        rows.scalar_one()


def test_a_second_row_is_refused_where_one_is_expected() -> None:
    rows = StatementRows(TWO, 2)
    with pytest.raises(MultipleResultsFound):
        rows.one()
    with pytest.raises(MultipleResultsFound):
        rows.one_or_none()
