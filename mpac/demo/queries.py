"""Read in plain SQL, from a read-only connection, what the demonstration needs to tell its story."""

from collections.abc import Collection
from dataclasses import dataclass

from mpac.demo.database_client import DatabaseClient
from mpac.demo.sales import Method

_CLAIMED = "SELECT id, fence FROM payments WHERE status = 'processing' AND lease_until IS NOT NULL"
_NOW = "SELECT id, status, fence FROM payments WHERE id = ANY(%s)"
_DOUBTED = """
    SELECT p.method_type, p.method_mode, p.processing_mode, count(DISTINCT p.id)
    FROM payments p JOIN payment_history h ON h.payment_id = p.id AND h.event = 'doubt'
    WHERE p.id = ANY(%s) GROUP BY 1, 2, 3
"""
_REFERENCES = "SELECT client_reference, count(*), min(id) FROM payments WHERE client_reference LIKE %s GROUP BY 1"

METHODS = {
    ("cash", None, "manual"): Method.CASH,
    ("card", None, "external"): Method.TERMINAL_CARD,
    ("emoney", None, "external"): Method.EMONEY,
    ("qr", "cpm", "provider"): Method.QR_CPM,
    ("qr", "mpm", "provider"): Method.QR_MPM,
    ("card", None, "provider"): Method.TOKEN_CARD,
}


@dataclass(frozen=True, slots=True)
class PaymentClaim:
    """A payment that a worker has claimed. ``fence`` grows with each claim."""

    id: str
    fence: int


class DemoQueries:
    """The queries of the demonstration. All methods raise ``TimedOut`` if the database stays unavailable."""

    def __init__(self, database: DatabaseClient) -> None:
        self._database = database

    @classmethod
    async def open(cls, database_url: str) -> "DemoQueries":
        """Connect."""
        return cls(await DatabaseClient.open(database_url, name="mpac_demo"))

    async def close(self) -> None:
        """Disconnect."""
        await self._database.close()

    async def read_claims(self) -> list[PaymentClaim]:
        """Return the claims that workers hold now."""
        return [PaymentClaim(*row) for row in await self._database.fetch(_CLAIMED)]

    async def read_unrecovered(self, claims: Collection[PaymentClaim]) -> list[PaymentClaim]:
        """Return the claims whose payments no worker has claimed again or finished since."""
        fences = {payment.id: payment.fence for payment in claims}
        return [
            PaymentClaim(row[0], row[2])
            for row in await self._database.fetch(_NOW, [list(fences)])
            if row[1] == "processing" and row[2] == fences[row[0]]
        ]

    async def count_doubts(self, payment_ids: Collection[str]) -> dict[Method, int]:
        """Return, by method, how many of the given payments were ever in doubt."""
        found = await self._database.fetch(_DOUBTED, [list(payment_ids)])
        return {METHODS[row[0], row[1], row[2]]: row[3] for row in found}

    async def payments_by_reference(self, beginning: str) -> dict[str, tuple[int, str]]:
        """Count the payments whose client_reference begins with ``beginning``.

        Return, by client_reference, the number of payments and the id of the first.
        """
        found = await self._database.fetch(_REFERENCES, [f"{beginning}%"])
        return {row[0]: (row[1], row[2]) for row in found}
