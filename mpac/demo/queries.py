"""Read from the database what the demonstration needs to tell the story: plain SQL, read-only."""

from collections.abc import Collection
from dataclasses import dataclass

from mpac.demo.database_client import DatabaseView
from mpac.demo.sales import Method

_HELD = "SELECT id, fence FROM payments WHERE status = 'processing' AND lease_until IS NOT NULL"
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
class HeldPayment:
    """A payment that a worker has claimed; ``fence`` grows when another one claims it."""

    id: str
    fence: int


class Records:
    """Read records. All methods raise ``TimedOut`` if the database stays away."""

    def __init__(self, view: DatabaseView) -> None:
        self._view = view

    @classmethod
    async def open(cls, database_url: str) -> "Records":
        """Connect."""
        return cls(await DatabaseView.open(database_url, name="mpac_demo"))

    async def close(self) -> None:
        """Disconnect."""
        await self._view.close()

    async def held(self) -> list[HeldPayment]:
        """Return the payments that some worker holds now."""
        return [HeldPayment(*row) for row in await self._view.rows(_HELD)]

    async def still_held(self, held: Collection[HeldPayment]) -> list[HeldPayment]:
        """Return those of ``held`` that no worker has claimed again or finished since."""
        fences = {payment.id: payment.fence for payment in held}
        return [
            HeldPayment(row[0], row[2])
            for row in await self._view.rows(_NOW, [list(fences)])
            if row[1] == "processing" and row[2] == fences[row[0]]
        ]

    async def doubts(self, payment_ids: Collection[str]) -> dict[Method, int]:
        """Return by method how many of these payments were in doubt at some time."""
        found = await self._view.rows(_DOUBTED, [list(payment_ids)])
        return {METHODS[row[0], row[1], row[2]]: row[3] for row in found}

    async def references(self, beginning: str) -> dict[str, tuple[int, str]]:
        """Return client_reference → the number of payments with it, and the first of them."""
        found = await self._view.rows(_REFERENCES, [f"{beginning}%"])
        return {row[0]: (row[1], row[2]) for row in found}
