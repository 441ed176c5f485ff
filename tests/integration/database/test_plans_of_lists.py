"""A caller's lists are planned with the values of each call, because one plan for all stores may sort all payments of one."""

import pytest
from sqlalchemy import text

from tests.harness import Api
from workflows.database.engines import Role, transaction

USES = 12
"""After five uses psycopg would prepare a statement, and after five more PostgreSQL may keep one plan for all values."""


@pytest.mark.parametrize("is_long", [False, True], ids=["short calls", "long calls"])
async def test_no_statement_of_a_caller_keeps_a_plan(api: Api, is_long: bool) -> None:
    for _ in range(USES):
        async with transaction(Role.CALLER, is_long=is_long) as connection:
            await connection.execute(text("SELECT id FROM payments WHERE store_id = :id LIMIT 1"), {"id": "sto_1"})
            prepared = (await connection.execute(text("SELECT count(*) FROM pg_prepared_statements"))).scalar_one()
            assert prepared == 0


async def test_statements_of_workers_that_find_rows_by_key_keep_theirs(api: Api) -> None:
    """The plan of a key is the best one for every value, and to plan it again takes longer than to run it."""
    counts = []
    for _ in range(USES):
        async with transaction(Role.WORKER) as connection:
            await connection.execute(text("SELECT id FROM payments WHERE id = :id"), {"id": "pay_1"})
            counts.append((await connection.execute(text("SELECT count(*) FROM pg_prepared_statements"))).scalar_one())
    assert counts[-1] > 0
