"""Compare a target's payments with the stand-in provider's ledger: no payment lost, none charged twice.

The rows are read before the ledger. A straggler, a payment that is charged and completed between the two reads, then appears
as a charge of a payment that was not yet completed, which is true and harmless. Read in the other order it would appear as a
completed payment without a charge, the sign of a lost charge, and a correct target would be called wrong.
"""

from dataclasses import dataclass, field

import aiohttp
import psycopg

from mpac.cli.errors import UserError

PAGE = 5_000  # the largest page of the ledger


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The sandbox provider of a benchmark, and the key of its control routes."""

    url: str
    control_key: str = field(repr=False)

    def session(self) -> aiohttp.ClientSession:
        """Return an HTTP client for the control routes."""
        headers = {"Authorization": f"Bearer {self.control_key}"}
        return aiohttp.ClientSession(self.url, headers=headers, raise_for_status=True)


async def verify(name: str, *, database_url: str, sandbox: Sandbox, run: str) -> dict[str, int]:
    """Check that the provider charged each completed payment of ``run`` exactly once; return the counts.

    Raises ``UserError`` if it did not.
    """
    status_of = await _read_statuses(database_url, run)
    charged = [payment_id for payment_id in await _charged_payment_ids(sandbox) if payment_id in status_of]
    completed = {payment_id for payment_id, status in status_of.items() if status == "completed"}
    proof = {
        "completed": len(completed),
        "charges": len(charged),
        "charged twice": len(charged) - len(set(charged)),
        "completed without a charge": len(completed - set(charged)),
        "charged and not completed": len(set(charged) - completed),
    }
    if proof["charged twice"] or proof["completed without a charge"]:
        raise UserError(f"{name} is wrong, so its figures mean nothing: {proof}")
    return proof


async def _read_statuses(database_url: str, run: str) -> dict[str, str]:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        cursor = await connection.execute(
            "SELECT id, status FROM payments WHERE client_reference LIKE %s", (f"{run}-%",)
        )
        return dict(await cursor.fetchall())


async def _charged_payment_ids(sandbox: Sandbox) -> list[str]:
    charged: list[str] = []
    async with sandbox.session() as session:
        after: int | None = 0
        while after is not None:
            async with session.get("/control/ledger", params={"after": after, "limit": PAGE}) as answer:
                page = await answer.json()
            charged += [row["payment_id"] for row in page["data"] if row["kind"] == "charge"]
            after = page["next"]
    return charged
