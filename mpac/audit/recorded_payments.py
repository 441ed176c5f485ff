"""Read our payments in plain SQL, for comparison with the provider's ledger.

The query runs as the owner of the tables with row security off, so it returns all rows or fails.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from mpac.cli.errors import UserError

CONNECT_TIMEOUT_SECONDS = 5

AT_THIS_PROVIDER = """
    SELECT id, status, amount + tip_amount, refunded_amount, refund_reserved, currency, provider = %(provider)s,
           ARRAY(SELECT reference FROM payment_attempts WHERE payment_id = payments.id
                 UNION ALL SELECT a.reference FROM refunds r JOIN refund_attempts a ON a.refund_id = r.id
                 WHERE r.payment_id = payments.id)
    FROM payments
"""
_ARCHIVED = """
    -- archived: those that moved money, by their settlement lines and their refunds, which stay
    SELECT l.entity_id, CASE WHEN coalesce(r.refunded, 0) > 0 THEN 'refunded' ELSE 'completed' END, l.amount,
           coalesce(r.refunded, 0)::bigint, coalesce(r.reserved, 0)::bigint, l.currency, l.provider = %(provider)s,
           ARRAY(SELECT a.reference FROM refunds f JOIN refund_attempts a ON a.refund_id = f.id
                 WHERE f.payment_id = l.entity_id)
    FROM settlement_lines l JOIN archived_months m ON substr(l.entity_id, 5) >= m.low AND substr(l.entity_id, 5) < m.high
    LEFT JOIN LATERAL (SELECT sum(amount) FILTER (WHERE status = 'completed') AS refunded,
                              sum(amount) FILTER (WHERE status <> 'failed') AS reserved
                       FROM refunds WHERE payment_id = l.entity_id) r ON true
    WHERE l.kind = 'payment'
"""
_BOUNDS = "SELECT low, high FROM archived_months"


@dataclass(frozen=True, slots=True)
class AuditedPayment:
    """A payment as recorded in our database; amounts in minor units.

    ``references`` are the keys of its attempts, which are written before each call. Of an archived payment only those of its
    refunds are left, and each key that begins with its id is accepted.
    """

    id: str
    status: str
    due: int
    refunded: int
    refund_reserved: int
    currency: str
    is_at_provider: bool
    references: list[str]
    is_archived: bool = False

    def knows(self, reference: str) -> bool:
        """Return whether ``reference`` is the key of an attempt of this payment."""
        return reference in self.references or (self.is_archived and reference.startswith(f"{self.id}:"))


async def read_recorded_payments(
    database_url: str, *, provider: str, ids: Collection[str] | None = None
) -> dict[str, AuditedPayment]:
    """Return all our payments by id, or those of ``ids``. Raises ``UserError`` if the database is down.

    Archived payments without a settlement line moved no money. They are among ``ids`` if the provider names them: as
    cancelled payments, of which the provider must not have kept anything.
    """
    query = AT_THIS_PROVIDER + ("" if ids is None else " WHERE id = ANY(%(ids)s)")
    archived = _ARCHIVED + ("" if ids is None else " AND l.entity_id = ANY(%(ids)s)")
    try:
        async with await psycopg.AsyncConnection.connect(
            database_url, connect_timeout=CONNECT_TIMEOUT_SECONDS, application_name="mpac_audit_payments"
        ) as connection:
            await connection.set_read_only(True)
            await connection.execute("SET LOCAL row_security = off")
            values = {"provider": provider, "ids": list(ids or ())}
            found = {row[0]: AuditedPayment(*row) for row in await _rows(connection, query, values)}
            for row in await _rows(connection, archived, values):
                found[row[0]] = replace(AuditedPayment(*row), is_archived=True)
            bounds = await _rows(connection, _BOUNDS, {})
            for missing in set(ids or ()) - found.keys():
                if any(low <= missing[4:] < high for low, high in bounds):
                    found[missing] = AuditedPayment(missing, "cancelled", 0, 0, 0, "", True, [], is_archived=True)
            return found
    except psycopg.Error as error:
        said = str(error).strip().partition("\n")[0]
        raise UserError(
            f"The database can't be audited ({said}): check that it is up and has the newest schema."
        ) from error


async def _rows(connection: psycopg.AsyncConnection[Any], query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query.encode(), values)).fetchall()
