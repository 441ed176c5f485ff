"""Dead letters: what was given up on, kept until an operator has looked and has it tried again."""

from typing import Any

from sqlalchemy import text

from workflows.database import Role, rows_parameter, transaction
from workflows.ids import new_id

_BURY = text("""
    INSERT INTO dead_letters (id, task, task_id, arguments, deliveries, reason, traceback, created_at)
    VALUES (:id, :task, :task_id, CAST(:arguments AS jsonb), :deliveries, :reason, :traceback, now())
""")


async def bury(task: str, *, task_id: str, arguments: Any, deliveries: int, reason: str, traceback: str) -> None:
    """Keep a task's message with the reason why nobody could work on it."""
    async with transaction(Role.WORKER) as connection:
        await connection.execute(
            _BURY,
            {
                "id": new_id("dead_letter"),
                "task": task,
                "task_id": task_id,
                "arguments": rows_parameter(arguments),
                "deliveries": deliveries,
                "reason": reason,
                "traceback": traceback,
            },
        )
