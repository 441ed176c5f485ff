"""Read accounts with their balances, and journals with their entries."""

from typing import Any

from sqlalchemy import BigInteger, Text, and_, column, func, or_, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.ledger.models import LedgerAccount, LedgerEntry, LedgerJournal
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.paging import check_cursor
from workflows.tenants.scope import visible_to
from workflows.tenants.walk import Walk, read_page

# carried_balances is a table of a higher layer (workflows.archive). It is read here, because its rows belong to the balances.
CARRIED = table("carried_balances", column("account_id", Text), column("amount", BigInteger)).c


async def list_accounts(*, caller: Caller, limit: int, before: str | None) -> list[dict[str, Any]]:
    """List up to ``limit`` accounts by descending id, below the id ``before``.

    ``balance`` is the sum of an account's entries, those of archived months included; debits are positive.
    """
    check_cursor(LedgerAccount, before)
    accounts = select(LedgerAccount.__table__).where(*visible_to(caller, LedgerAccount.merchant_id))
    if before:
        accounts = accounts.where(LedgerAccount.id < before)
    page = accounts.order_by(LedgerAccount.id.desc()).limit(limit).subquery()
    live, carried = (
        select(func.coalesce(func.sum(amount), 0)).where(account_id == page.c.id).scalar_subquery()
        for amount, account_id in ((LedgerEntry.amount, LedgerEntry.account_id), (CARRIED.amount, CARRIED.account_id))
    )
    async with caller_transaction(caller, is_long=True) as connection:
        balances = select(page, (live + carried).label("balance")).order_by(page.c.id.desc())
        rows = (await connection.execute(balances)).mappings()
        # sum() of bigints is numeric, hence int(); the JSON serialiser accepts plain str keys only, hence str()
        return [{**{str(name): value for name, value in row.items()}, "balance": int(row["balance"])} for row in rows]


async def list_journals(
    *, caller: Caller, limit: int, before: str | None, payment_id: str | None = None
) -> list[dict[str, Any]]:
    """List up to ``limit`` journals with their ``entries``, newest first, older than the id ``before``.

    With ``payment_id``, list only the journals of that payment and of its refunds.
    """
    later = and_(LedgerJournal.payment_id == payment_id, LedgerJournal.source_id != LedgerJournal.payment_id)
    conditions = [or_(LedgerJournal.source_id == payment_id, later)] if payment_id else []
    walk = Walk(
        model=LedgerJournal, caller=caller, conditions=conditions, is_selective=bool(payment_id), by="merchant_id"
    )
    async with caller_transaction(caller) as connection:
        journals = await read_page(connection, walk, limit=limit, before=before)
        entries = await _entries(connection, [journal["id"] for journal in journals])
    return journals.with_rows({**journal, "entries": entries.get(journal["id"], [])} for journal in journals)


async def _entries(connection: AsyncConnection, journal_ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    statement = (
        select(
            LedgerEntry.journal_id,
            LedgerEntry.account_id,
            LedgerAccount.kind,
            LedgerAccount.provider,
            LedgerEntry.amount,
        )
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .where(LedgerEntry.journal_id.in_(journal_ids))
        .order_by(LedgerEntry.journal_id, LedgerEntry.number)
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for row in (await connection.execute(statement)).mappings():
        entry = {"account_id": row["account_id"], "account": row["kind"], "provider": row["provider"]}
        found.setdefault(row["journal_id"], []).append({**entry, "amount": row["amount"]})
    return found
