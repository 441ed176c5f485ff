"""Define what a statement needs of its connection, so that a function can run on SQLAlchemy's and on the hot path's.

SQLAlchemy's ``AsyncConnection`` and ``HotConnection`` (``workflows.database.hot_connection``) both offer it. A function whose
parameter is annotated with ``Connection`` may be called in a ``transaction`` as well as in a ``hot_transaction``.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import TextClause

Row = Mapping[Any, Any]
"""A row: column name → value. The names are strings; SQLAlchemy's own type of a row allows more, hence ``Any``."""


class MappingRows(Protocol):
    """The rows of a result. They can be read once."""

    def __iter__(self) -> Iterator[Row]: ...

    def all(self) -> Sequence[Row]:
        """Return all rows."""
        ...

    def one(self) -> Row:
        """Return the only row. Raises unless there is exactly one."""
        ...

    def one_or_none(self) -> Row | None:
        """Return the only row, or ``None`` if there is none. Raises if there are several."""
        ...


class Rows(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """The number of rows that the statement returned or changed."""
        ...

    def mappings(self) -> MappingRows:
        """Return the rows, each as a mapping from the column's name."""
        ...

    def scalar(self) -> Any:
        """Return the first column of the first row, or ``None`` if there is no row."""
        ...

    def scalar_one(self) -> Any:
        """Return the first column of the only row. Raises unless there is exactly one row."""
        ...


class Connection(Protocol):
    """A connection within a transaction."""

    async def execute(self, statement: TextClause, parameters: Mapping[str, Any] | None = None, /) -> Rows:
        """Run ``statement`` with the values of its ``:names``. Raises SQLAlchemy's ``DBAPIError``."""
        ...


Execute = Callable[[TextClause, Mapping[str, Any]], Awaitable[Rows]]
"""A function that runs a statement: a connection's ``execute``, or ``execute_alone`` for a role."""
