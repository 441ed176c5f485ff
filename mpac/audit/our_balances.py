"""Read our two books in plain SQL: what was settled, and the balances of the ledger's accounts.

Both are read in one snapshot, as the owner of the tables with row security off: the result has all rows, or there is an error.
Of an archived month, the entries were carried over as sums (``carried_balances``), and the attempts are those of its lines in
settlements.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg

from mpac.cli.errors import UserError

CONNECT_TIMEOUT_SECONDS = 5

Place = tuple[str, ...]
"""A store, a currency and, for some figures, a provider."""


class Figures(NamedTuple):
    """Sums in minor units. Refunds and fees are positive. ``counted`` is the counted cash minus the expected cash."""

    taken: int = 0
    refunded: int = 0
    fees: int = 0
    adjusted: int = 0
    counted: int = 0

    @property
    def net_amount(self) -> int:
        """The money that must be in drawers and at providers according to these figures."""
        return self.taken - self.refunded - self.fees + self.adjusted + self.counted


@dataclass(slots=True)
class OurBalances:
    """Our figures by store and currency, for comparison with the provider's ledger.

    ``settled``, ``accounts`` and ``net_amount`` are by provider as well. ``net_amount`` is the balance of the accounts that
    hold money. ``store_of_attempt`` maps an attempt's reference to its store, or to ``None`` while its outcome is open.
    """

    totals: dict[Place, Figures] = field(default_factory=dict)
    lines_of_closed: dict[Place, Figures] = field(default_factory=dict)
    settled: dict[Place, Figures] = field(default_factory=dict)
    accounts: dict[Place, Figures] = field(default_factory=dict)
    net_amount: dict[Place, int] = field(default_factory=dict)
    store_of_attempt: dict[str, str | None] = field(default_factory=dict)


_TOTALS = """
    SELECT store_id, currency, sum(gross_amount)::bigint, sum(refunds_amount)::bigint, sum(fees_amount)::bigint,
           sum(adjustments_amount)::bigint
    FROM settlements WHERE status <> 'open' GROUP BY 1, 2
"""
_BY_KIND = """coalesce(sum(amount) FILTER (WHERE kind = 'payment'), 0)::bigint,
           coalesce(-sum(amount) FILTER (WHERE kind = 'refund'), 0)::bigint, coalesce(sum(fee), 0)::bigint,
           coalesce(sum(amount) FILTER (WHERE kind = 'adjustment'), 0)::bigint"""
_LINES_OF_CLOSED = f"""
    SELECT s.store_id, s.currency, {_BY_KIND}
    FROM settlements s LEFT JOIN settlement_lines l ON l.settlement_id = s.id WHERE s.status <> 'open' GROUP BY 1, 2
"""
_SETTLED = f"""
    -- settled: every line, and everything final that still waits for its line
    SELECT store_id, currency, provider, {_BY_KIND}, coalesce(sum(counted), 0)::bigint
    FROM (SELECT store_id, currency, provider, kind, amount, fee, 0 AS counted FROM settlement_lines
          UNION ALL
          SELECT store_id, currency, provider, 'payment', captured_amount, fee, 0
          FROM payments WHERE completed_at IS NOT NULL AND settlement_id IS NULL
          UNION ALL
          SELECT store_id, currency, provider, 'refund', -amount, fee, 0
          FROM refunds WHERE completed_at IS NOT NULL AND settlement_id IS NULL
          UNION ALL
          SELECT store_id, currency, 'cash', 'count', 0, 0, cash_actual - cash_expected
          FROM settlements WHERE cash_actual IS NOT NULL) AS lines
    GROUP BY 1, 2, 3
"""
_ACCOUNTS = """
    -- accounts: each figure from the accounts that it was booked against, and the balance of the accounts that hold money
    SELECT e.store_id, a.currency, a.provider,
           coalesce(-sum(e.amount) FILTER (WHERE a.kind IN ('sales', 'tips')), 0)::bigint,
           coalesce(sum(e.amount) FILTER (WHERE a.kind = 'refunds'), 0)::bigint,
           coalesce(sum(e.amount) FILTER (WHERE a.kind = 'fees'), 0)::bigint,
           coalesce(-sum(e.amount) FILTER (WHERE a.kind = 'differences' AND e.kind <> 'cash_difference'), 0)::bigint,
           coalesce(-sum(e.amount) FILTER (WHERE a.kind = 'differences' AND e.kind = 'cash_difference'), 0)::bigint,
           coalesce(sum(e.amount) FILTER (WHERE a.kind IN ('cash', 'receivable', 'bank')), 0)::bigint
    FROM (SELECT j.store_id, j.kind, e.account_id, e.amount FROM ledger_entries e JOIN ledger_journals j ON j.id = e.journal_id
          UNION ALL SELECT store_id, kind, account_id, amount FROM carried_balances) AS e
    JOIN ledger_accounts a ON a.id = e.account_id
    GROUP BY 1, 2, 3
"""
_STORES_OF_ATTEMPTS = """
    -- places: by the key that the provider received; an attempt with an open outcome may or may not have moved money
    SELECT a.reference, CASE WHEN p.status NOT IN ('pending', 'processing') THEN p.store_id END
    FROM payment_attempts a JOIN payments p ON p.id = a.payment_id WHERE a.provider = %(provider)s {of_payments}
    UNION ALL
    SELECT a.reference, CASE WHEN r.status NOT IN ('pending', 'processing') THEN r.store_id END
    FROM refund_attempts a JOIN refunds r ON r.id = a.refund_id WHERE a.provider = %(provider)s {of_refunds}
    UNION ALL
    SELECT a.our_reference, a.store_id FROM settlement_lines a
    JOIN archived_months m ON substr(a.entity_id, 5) >= m.low AND substr(a.entity_id, 5) < m.high
    WHERE a.kind = 'payment' AND a.provider = %(provider)s AND a.our_reference IS NOT NULL {of_archived}
"""
_THESE = "AND a.reference = ANY(%(references)s)"
_THESE_ARCHIVED = "AND a.our_reference = ANY(%(references)s)"


async def read_our_balances(database_url: str, *, provider: str | None) -> OurBalances:
    """Return the sums of our settlements and of our ledger.

    If ``provider`` is given, the store of each attempt at ``provider`` is included. Raises ``UserError``.
    """
    async with open_snapshot(database_url) as connection:
        books = OurBalances(
            totals=await _figures(connection, _TOTALS, named_by=2),
            lines_of_closed=await _figures(connection, _LINES_OF_CLOSED, named_by=2),
            settled=await _figures(connection, _SETTLED, named_by=3),
        )
        for row in await (await connection.execute(_ACCOUNTS)).fetchall():
            books.accounts[row[:3]] = Figures(*row[3:-1])
            books.net_amount[row[:3]] = row[-1]
        if provider:
            everything = _STORES_OF_ATTEMPTS.format(of_payments="", of_refunds="", of_archived="")
            books.store_of_attempt = await _store_of_attempt(connection, everything, {"provider": provider})
    return books


async def find_newer_attempts(database_url: str, *, provider: str, references: Collection[str]) -> set[str]:
    """Return the references that belong to attempts of ours recorded after the books were read."""
    these = _STORES_OF_ATTEMPTS.format(of_payments=_THESE, of_refunds=_THESE, of_archived=_THESE_ARCHIVED)
    async with open_snapshot(database_url) as connection:
        found = await _store_of_attempt(connection, these, {"provider": provider, "references": list(references)})
    return set(found)


async def _figures(connection: psycopg.AsyncConnection[Any], query: str, *, named_by: int) -> dict[Place, Figures]:
    rows = await (await connection.execute(query.encode())).fetchall()
    return {row[:named_by]: Figures(*row[named_by:]) for row in rows}


async def _store_of_attempt(
    connection: psycopg.AsyncConnection[Any], query: str, values: dict[str, Any]
) -> dict[str, str | None]:
    stores: dict[str, str] = {}  # each id once in memory, however many attempts a store has made
    async with connection.cursor() as cursor:
        rows = cursor.stream(query.encode(), values)
        return {reference: store and stores.setdefault(store, store) async for reference, store in rows}


@asynccontextmanager
async def open_snapshot(database_url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Open a read-only snapshot of all rows, as the owner of the tables. Raises ``UserError``."""
    try:
        async with await psycopg.AsyncConnection.connect(
            database_url, connect_timeout=CONNECT_TIMEOUT_SECONDS, application_name="mpac_audit_sums"
        ) as connection:
            await connection.set_read_only(True)
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            await connection.execute("SET LOCAL row_security = off")
            yield connection
    except psycopg.Error as error:
        said = str(error).strip().partition("\n")[0]
        raise UserError(
            f"The database can't be audited ({said}): check that it is up and has the newest schema."
        ) from error
