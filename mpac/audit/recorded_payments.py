"""Read our payments in plain SQL, for comparison with the provider's ledger.

The query runs as the owner of the tables with row security off, so it returns all rows or fails.
"""

from collections.abc import Collection
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class AuditedPayment:
    """A payment as recorded in our database; amounts in minor units.

    ``references`` are the keys of its attempts, which are written before each call.
    """

    id: str
    status: str
    due: int
    refunded: int
    refund_reserved: int
    currency: str
    is_at_provider: bool
    references: list[str]


async def read_recorded_payments(
    database_url: str, *, provider: str, ids: Collection[str] | None = None
) -> dict[str, AuditedPayment]:
    """Return all our payments by id, or those of ``ids``. Raises ``UserError`` if the database is down."""
    query = AT_THIS_PROVIDER + ("" if ids is None else " WHERE id = ANY(%(ids)s)")
    try:
        async with await psycopg.AsyncConnection.connect(
            database_url, connect_timeout=CONNECT_TIMEOUT_SECONDS, application_name="mpac_audit_payments"
        ) as connection:
            await connection.set_read_only(True)
            await connection.execute("SET LOCAL row_security = off")
            found = await connection.execute(query, {"provider": provider, "ids": list(ids or ())})
            return {row[0]: AuditedPayment(*row) for row in await found.fetchall()}
    except psycopg.Error as error:
        said = str(error).strip().partition("\n")[0]
        raise UserError(
            f"The database can't be audited ({said}): check that it is up and has the newest schema."
        ) from error
