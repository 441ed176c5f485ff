"""Run all auditors on a stack whose business day is closed."""

from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from mpac.audit.balance_audit import audit_balances
from mpac.audit.net_audit import audit_net
from mpac.audit.payment_audit import audit_payments
from mpac.stack.local_stack import LocalStack
from workflows.invariants.check import check
from workflows.invariants.rules import RULES


async def assert_auditors_find_nothing(stack: LocalStack) -> None:
    """Assert that no auditor reports anything: invariants, payments, balances, and the provider's net.

    All auditors run before the test fails; the failure shows what each of them found.
    """
    engine = create_async_engine(make_url(stack.urls.database).set(drivername="postgresql+psycopg"))
    try:
        async with engine.connect() as connection:
            found = await check(connection, RULES)
    finally:
        await engine.dispose()
    urls, key = stack.urls, stack.control_key
    ledger = await audit_payments(database_url=urls.database, sandbox_url=urls.sandbox, control_key=key)
    sums = await audit_balances(database_url=urls.database, sandbox_url=urls.sandbox, control_key=key)
    net = await audit_net(database_url=urls.database, sandbox_url=urls.sandbox, control_key=key)
    problems = [
        *(f"{one.rule.invariant} {one.rule.name} ({one.count}): {one.violations}" for one in found if one.count),
        *(f"{broken.rule} {broken.payment_id}: {broken.problem}" for broken in ledger.broken),
        *(f"I15 {one.place}: {one.problem}" for one in net.differences),
        *(f"sums, {one.rule} {one.place}: {one.problem}" for one in sums.differences),
    ]
    assert not problems, "the auditors found:\n" + "\n".join(problems)
