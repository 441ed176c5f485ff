"""Read everything that the database has about a payment or refund."""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import DictRow

Admin = psycopg.AsyncConnection[DictRow]


@dataclass(frozen=True)
class Evidence:
    """The row, history, attempts and messages of a payment or refund."""

    row: dict[str, Any]
    history: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    messages: list[dict[str, Any]]

    @property
    def status(self) -> str:
        status: str = self.row["status"]
        return status

    @property
    def events(self) -> list[str]:
        """The events of the payment's history, oldest first."""
        return [entry["event"] for entry in self.history]

    @property
    def outcomes(self) -> list[str | None]:
        """The outcome of each attempt, oldest first."""
        return [attempt["outcome"] for attempt in self.attempts]

    @property
    def kinds(self) -> list[str]:
        """The kinds of messages, oldest first."""
        return [message["kind"] for message in self.messages]

    def check(self) -> None:
        """Assert that the history has one row per version, and that its statuses form a chain.

        The chain ends at the current status.
        """
        assert [entry["version"] for entry in self.history] == list(range(1, self.row["version"] + 1))
        assert self.history[0]["from_status"] is None
        for before, after in zip(self.history, self.history[1:], strict=False):
            assert after["from_status"] == before["to_status"]
        assert self.history[-1]["to_status"] == self.status


async def all_of(admin: Admin, statement: bytes, *values: Any) -> list[dict[str, Any]]:
    """Return the rows of a SELECT."""
    return await (await admin.execute(statement, values)).fetchall()


async def evidence_of(admin: Admin, entity: str, row_id: str) -> Evidence:
    """Return the rows of a payment or refund, after checking its history."""
    (row,) = await all_of(admin, f"SELECT * FROM {entity}s WHERE id = %s".encode(), row_id)
    beside = [("history", "version"), ("attempts", "number"), ("messages", "number")]
    statements = [f"SELECT * FROM {entity}_{name} WHERE {entity}_id = %s ORDER BY {by}" for name, by in beside]
    found = Evidence(row, *[await all_of(admin, statement.encode(), row_id) for statement in statements])
    found.check()
    return found


async def evidence(admin: Admin, payment_id: str) -> Evidence:
    """Return the rows of a payment, after checking its history."""
    return await evidence_of(admin, "payment", payment_id)


async def seconds_until(admin: Admin, row_id: str, column: str, *, entity: str = "payment") -> float:
    """Return the seconds until a timestamp of a payment or refund, by the database's clock."""
    query = f"SELECT extract(epoch FROM {column} - now())::float8 AS seconds FROM {entity}s WHERE id = %s"
    (row,) = await all_of(admin, query.encode(), row_id)
    return float(row["seconds"])
