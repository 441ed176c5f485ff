"""Row-level security costs a comparison per row, because PostgreSQL inlines ``may_see`` into each statement."""

import pytest
from sqlalchemy import text

from tests.factories import Tenant
from workflows.tenants.caller import Caller, CallerRole, caller_transaction

TABLES = ("payments", "refunds", "orders", "bills", "settlements", "devices", "stores", "ledger_journals")


@pytest.mark.parametrize("table", TABLES)
async def test_plan_calls_no_function_of_ours_for_each_row_unless_the_caller_is_a_psp(
    tenant: Tenant, table: str
) -> None:
    caller = Caller("u", CallerRole.MERCHANT_ADMIN, "", tenant.merchant_id)
    async with caller_transaction(caller) as connection:
        found = await connection.execute(text(f"EXPLAIN (VERBOSE) SELECT id FROM {table}"))
        plan = "\n".join(found.scalars())
    assert "mpac.merchant_id" in plan, "row-level security is part of the plan"
    assert "may_see" not in plan
