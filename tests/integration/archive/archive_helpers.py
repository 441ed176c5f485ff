"""Archive and restore the month of an old shop, and let all auditors of our books look at it."""

from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from mpac.audit.balance_audit import audit_balances
from tests.integration.archive.conftest import POLICY, OldShop
from workflows.archive.archive import archiving
from workflows.invariants.check import check
from workflows.invariants.rules import RULES


async def broken_rules(old: OldShop) -> dict[str, list[str]]:
    """Return the rules of the invariants that are broken, with the ids that break them."""
    engine = create_async_engine(make_url(old.url).set(drivername="postgresql+psycopg"))
    async with engine.connect() as connection:
        found = await check(connection, RULES)
    await engine.dispose()
    return {
        one.rule.name: [f"{broken.id}: {broken.problem}" for broken in one.violations] for one in found if one.count
    }


async def problems(old: OldShop) -> list[str]:
    """Return what the auditors of our own books find."""
    sums = await audit_balances(database_url=old.url, sandbox_url=None)
    found = [f"{name}: {ids}" for name, ids in (await broken_rules(old)).items()]
    return found + [f"{one.rule} {one.place}: {one.problem}" for one in sums.differences]


def archive(old: OldShop, folder: Path, *, drop: bool = False) -> None:
    """Archive the month of the shop's payments."""
    with archiving(old.url, policy=POLICY, by="a test", report=print) as run:
        run.archive_month(old.month, folder)
        if drop:
            run.drop_month(old.month, folder)


def restore(old: OldShop) -> None:
    """Restore the month of the shop's payments."""
    with archiving(old.url, policy=POLICY, by="a test", report=print) as run:
        run.restore_month(old.month)


async def rows(old: OldShop, statement: str, *values: Any) -> list[dict[str, Any]]:
    """Return the rows of a statement that the owner of the tables runs."""
    return await (await old.admin.execute(statement.encode(), values)).fetchall()


async def live_payments(old: OldShop) -> int:
    """Return the number of live payments."""
    return int((await rows(old, "SELECT count(*) AS n FROM payments"))[0]["n"])
