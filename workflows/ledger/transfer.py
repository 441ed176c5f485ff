"""Post a transfer between two accounts: an adjustment, a cash difference or a payout."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.ids import new_id
from workflows.ledger.chart import AccountKind, JournalKind, holder


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer of ``amount`` minor units; ``chart`` defines the accounts and the sign by ``kind``.

    ``source_id`` is the entity that it records. Each source has at most one journal of a kind.
    """

    kind: JournalKind
    source_id: str
    merchant_id: str
    store_id: str
    provider: str
    currency: str
    amount: int
    occurred_at: datetime
    payment_id: str | None = None


# Three statements, not one: row-level security checks each row against the state before the statement began, so the entries
# of a caller would not see a journal and an account that the same statement inserts.
_ACCOUNTS = text("""
    -- accounts: open those that do not exist; in id order, so that two transactions cannot deadlock
    INSERT INTO ledger_accounts (id, merchant_id, kind, provider, currency, created_at)
    SELECT ledger_account_id(:merchant_id, kind, :provider, :currency) AS id, :merchant_id, kind, :provider, :currency, now()
    FROM (VALUES (CAST(:debit AS text)), (CAST(:credit AS text))) AS a(kind) ORDER BY 1
    ON CONFLICT DO NOTHING
""")
_JOURNAL = text("""
    INSERT INTO ledger_journals (id, merchant_id, store_id, kind, source_id, payment_id, currency, occurred_at, posted_at)
    VALUES (:id, :merchant_id, :store_id, :kind, :source_id, :payment_id, :currency, :occurred_at, now())
""")
_ENTRIES = text("""
    INSERT INTO ledger_entries (journal_id, number, account_id, amount)
    SELECT :id, e.number, ledger_account_id(:merchant_id, e.account, :provider, :currency), e.amount
    FROM (VALUES (1, CAST(:debit AS text), CAST(:amount AS bigint)),
                 (2, CAST(:credit AS text), -CAST(:amount AS bigint))) AS e(number, account, amount)
""")


async def post_transfer(connection: AsyncConnection, transfer: Transfer) -> str:
    """Post ``transfer`` in the current transaction and return the journal's id."""
    debit, credit = sides(transfer)
    journal_id = new_id("journal")
    parameters = {**asdict(transfer), "id": journal_id, "debit": debit, "credit": credit}
    for statement in (_ACCOUNTS, _JOURNAL, _ENTRIES):
        await connection.execute(statement, parameters)
    return journal_id


def sides(transfer: Transfer) -> tuple[AccountKind, AccountKind]:
    """Return the kinds of account that ``transfer`` debits and credits.

    Raises ``KeyError`` for the kinds of journal that payments and refunds post.
    """
    held = holder(transfer.provider)
    return {
        JournalKind.ADJUSTMENT: (held, AccountKind.DIFFERENCES),
        JournalKind.CASH_DIFFERENCE: (held, AccountKind.DIFFERENCES),
        JournalKind.PAYOUT: (AccountKind.BANK, held),
    }[transfer.kind]
