"""Post journals: the chart of accounts, and what each journal debits and credits.

There is an account per merchant, kind, provider and currency. Debits are positive, credits negative; a journal sums to zero,
and an account's balance is the sum of its entries.

| journal           | source          | debit                       | credit                              |
|-------------------|-----------------|-----------------------------|-------------------------------------|
| ``completion``    | the payment     | ``cash`` or ``receivable``  | ``sales``, and ``tips`` for the tip  |
| ``refund``        | the refund      | ``refunds``                 | ``cash`` or ``receivable``           |
| ``fee``           | either of these | ``fees``                    | ``cash`` or ``receivable``           |
| ``adjustment``    | the adjustment  | ``receivable`` (or ``cash``)| ``differences``                      |
| ``cash_difference``| the count      | ``cash``                    | ``differences``                      |
| ``payout``        | the payout      | ``bank``                    | ``receivable``                       |

A negative amount (a shortage, a correction downwards) swaps the sides of the last three.

Completed payments and refunds are posted in the transaction that records them: recording passes the rows of a group that
changed their status, and one statement writes all their journals. The id of an account is derived from its merchant, kind,
provider and currency. So it needs no lookup, and two groups that open the same account concurrently use the same id.
``post_transfer`` posts the last three journals, each between two accounts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import text

from workflows.database.connection import Connection
from workflows.database.engines import Role, rows_parameter
from workflows.database.months import MARK, MonthlyStatement, execute_within
from workflows.ids import id_in_month_of


class AccountKind(StrEnum):
    """The kinds of accounts. A CHECK constraint lists the same values."""

    CASH = "cash"  # the cash that should be in the drawers
    RECEIVABLE = "receivable"  # what a provider, or the acquirer of the terminal's card application, owes the merchant
    BANK = "bank"  # the payouts of providers
    SALES = "sales"  # sales without tips, before refunds
    TIPS = "tips"  # tips, which are owed to the staff
    REFUNDS = "refunds"  # refunded amounts
    FEES = "fees"  # fees that providers retain
    DIFFERENCES = "differences"  # cash over and short, and corrections found by reconciliation


class JournalKind(StrEnum):
    """The kinds of journals. The table above says what each of them posts."""

    COMPLETION = "completion"
    REFUND = "refund"
    FEE = "fee"
    ADJUSTMENT = "adjustment"
    CASH_DIFFERENCE = "cash_difference"
    PAYOUT = "payout"


CASH_PROVIDER = "cash"
"""The provider whose payments are in the drawer. Every other provider owes its payments to the merchant."""


# payments is a table of a higher layer. It is read here, so that a journal is made from the stored row and not from values
# that the caller passes. The array of ids repeats the join's condition: without it, a plan that was cached while the tables
# were small may scan them.
_SOLD = f"""
    SELECT i.*, p.id AS source_id, p.id AS payment_id, p.merchant_id, p.store_id, p.currency, p.provider, p.completed_at,
           p.fee, 'completion' AS kind, p.captured_amount AS held, 'sales' AS account,
           p.tip_amount - p.captured_amount AS moved, -p.tip_amount AS tip
    FROM input i JOIN payments{MARK} p ON p.id = i.id WHERE p.id = ANY(ARRAY(SELECT id FROM input))
"""
# refunds is a table of a higher layer, and is read for the same reason.
_REFUNDED = """
    SELECT i.*, r.id AS source_id, r.payment_id, r.merchant_id, r.store_id, r.currency, r.provider, r.completed_at,
           r.fee, 'refund' AS kind, -r.amount AS held, 'refunds' AS account, r.amount AS moved, CAST(0 AS bigint) AS tip
    FROM input i JOIN refunds r ON r.id = i.id WHERE r.id = ANY(ARRAY(SELECT id FROM input))
"""

_JOURNALS = f"""
    ), lines AS (
        SELECT s.*, l.*, ledger_account_id(s.merchant_id, l.on_account, s.provider, s.currency) AS account_id
        FROM source s
        CROSS JOIN LATERAL (SELECT CASE s.provider WHEN 'cash' THEN 'cash' ELSE 'receivable' END AS holder) h
        CROSS JOIN LATERAL (VALUES
            (s.journal, s.kind, 1, h.holder, s.held),
            (s.journal, s.kind, 2, s.account, s.moved),
            (s.journal, s.kind, 3, 'tips', s.tip),
            (s.fee_journal, 'fee', 1, 'fees', s.fee),
            (s.fee_journal, 'fee', 2, h.holder, -s.fee)
        ) AS l(journal_id, journal_kind, number, on_account, amount)
        WHERE l.amount <> 0
    ), accounts AS (
        INSERT INTO ledger_accounts (id, merchant_id, kind, provider, currency, created_at)
        SELECT DISTINCT account_id, merchant_id, on_account, provider, currency, now() FROM lines
        ORDER BY 1 -- in one order, so that two groups that insert the same accounts cannot deadlock
        ON CONFLICT DO NOTHING -- an index lookup per row: an anti-join might read all accounts
    ), journals AS (
        INSERT INTO ledger_journals{MARK} (id, merchant_id, store_id, kind, source_id, payment_id, currency, occurred_at,
                                           posted_at)
        SELECT journal_id, merchant_id, store_id, journal_kind, source_id, payment_id, currency, completed_at, now()
        FROM lines WHERE number = 1
"""
_ENTRIES_OF_LINES = f"""
    INSERT INTO ledger_entries{MARK} (journal_id, number, account_id, amount)
    SELECT journal_id, number, account_id, amount FROM lines
"""
_POST = f"""
    -- post: a journal for each row, another one for its fee, and the accounts that do not exist yet
    WITH input AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(id text, journal text, fee_journal text)
    ), source AS ({{source}}{_JOURNALS}
    )
    {_ENTRIES_OF_LINES}
"""
COMPLETION_JOURNALS = f"""
    ), source AS (
        SELECT journal, fee_journal, id AS source_id, id AS payment_id, merchant_id, store_id, currency, provider,
               completed_at, fee, 'completion' AS kind, captured_amount AS held, 'sales' AS account,
               tip_amount - captured_amount AS moved, -tip_amount AS tip
        FROM recorded WHERE status = 'completed'{_JOURNALS}
    ), entries AS ({_ENTRIES_OF_LINES}
"""
"""The same for the payments of ``recorded``, within the statement that completes them (``payments.record``).

``recorded`` returns the stored rows with the new ids ``journal`` and ``fee_journal`` (``journal_ids``).
"""
REFUND_JOURNALS = f"""
    ), source AS (
        SELECT journal, fee_journal, id AS source_id, payment_id, merchant_id, store_id, currency, provider, completed_at,
               fee, 'refund' AS kind, -amount AS held, 'refunds' AS account, amount AS moved, CAST(0 AS bigint) AS tip
        FROM recorded WHERE status = 'completed'{_JOURNALS}
    ), entries AS ({_ENTRIES_OF_LINES}
"""
"""The same for the refunds of ``recorded`` (``refunds.record``)."""
_POST_COMPLETIONS = MonthlyStatement(_POST.format(source=_SOLD))
_POST_REFUNDS = MonthlyStatement(_POST.format(source=_REFUNDED))


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer of ``amount`` minor units between two accounts.

    ``kind`` decides the accounts and the sign (see the table of this module). ``source_id`` is the entity that the transfer
    records, such as an adjustment. Each source has at most one journal of a kind.
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


# Three statements and not one: row-level security checks each row against the state before its statement began, so a caller's
# entries would not see a journal and an account that the same statement inserts.
_ACCOUNTS = text("""
    -- accounts: insert the accounts that do not exist, in id order, so that two transactions cannot deadlock
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


def receiving_account(provider: str) -> AccountKind:
    """Return the kind of account that receives the payments of ``provider``."""
    return AccountKind.CASH if provider == CASH_PROVIDER else AccountKind.RECEIVABLE


async def post_completions(connection: Connection, recorded: Sequence[Mapping[str, Any]]) -> None:
    """Post a journal for each completed payment among the ``recorded`` rows."""
    await _post(connection, recorded, _POST_COMPLETIONS)


async def post_refunds(connection: Connection, recorded: Sequence[Mapping[str, Any]]) -> None:
    """Post a journal for each completed refund among the ``recorded`` rows."""
    await _post(connection, recorded, _POST_REFUNDS)


async def post_transfer(connection: Connection, transfer: Transfer) -> str:
    """Post ``transfer`` and return the id of its journal."""
    debit, credit = sides(transfer)
    journal_id = id_in_month_of(transfer.source_id, "journal")
    parameters = {**asdict(transfer), "id": journal_id, "debit": debit, "credit": credit}
    for statement in (_ACCOUNTS, _JOURNAL, _ENTRIES):
        await connection.execute(statement, parameters)
    return journal_id


def sides(transfer: Transfer) -> tuple[AccountKind, AccountKind]:
    """Return the kinds of the accounts that ``transfer`` debits and credits.

    Raises ``KeyError`` for the kinds of journals that only payments and refunds post.
    """
    held = receiving_account(transfer.provider)
    return {
        JournalKind.ADJUSTMENT: (held, AccountKind.DIFFERENCES),
        JournalKind.CASH_DIFFERENCE: (held, AccountKind.DIFFERENCES),
        JournalKind.PAYOUT: (AccountKind.BANK, held),
    }[transfer.kind]


def journal_ids(source_id: str) -> dict[str, str]:
    """Return the ids of the journals of one completed payment or refund. They are in the month of its id."""
    return {name: id_in_month_of(source_id, "journal") for name in ("journal", "fee_journal")}


async def _post(connection: Connection, recorded: Sequence[Mapping[str, Any]], statement: MonthlyStatement) -> None:
    rows = [{"id": row["id"], **journal_ids(row["id"])} for row in recorded if row["status"] == "completed"]
    if rows:
        ids = [row["id"] for row in rows]
        await execute_within(connection, statement, ids, {"rows": rows_parameter(rows)}, role=Role.WORKER)
