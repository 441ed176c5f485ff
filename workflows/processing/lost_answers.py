"""Find out whether a claim or a recording took effect whose answer was lost.

| what      | sent as                      | how its effect is found                                                       |
|-----------|------------------------------|-------------------------------------------------------------------------------|
| start     | one statement                | its leases have a length that no other claim of this worker has               |
| resume    | a transaction                | PostgreSQL is asked whether the transaction was committed                     |
| recording | one statement or transaction | it is repeated, which changes nothing; the rows have our fence, and no lease  |

After a claim no provider was called yet, so it may continue. If it cannot be found out, the rows are left to their lease: then
the provider is asked about their attempts, as if this process had died.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import psycopg
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError

from workflows.database.engines import Role, transaction
from workflows.database.hot_path import execute_alone
from workflows.errors import ServiceUnavailable
from workflows.processing.shared_statements import COMMIT_STATUS

CONFIRM_SECONDS = 0.1
"""Pause between two checks of a claim whose answer was lost."""

START_SECONDS = 1.0
"""How long a start is looked for. A statement that the server received has ended by then, unless the server is stuck."""

LENGTHS = 10_000
"""The number of different leases, one microsecond apart."""

_lengths = count(secrets.randbelow(LENGTHS))


def lease_of_its_own(seconds: float) -> float:
    """Return a lease of ``seconds``, or up to 10 ms less, whose length no other present claim has.

    A start is its own transaction, whose id is not known before its answer. The length of the lease identifies it instead:
    ``lease_until - processing_at`` of the rows that it claimed.
    """
    return seconds - (next(_lengths) % LENGTHS) / 1_000_000


def may_have_run(error: ServiceUnavailable) -> bool:
    """Return whether the connection of ``error`` ended before the answer to its statement came."""
    cause = error.__cause__
    if not isinstance(cause, DBAPIError) or not isinstance(cause.orig, psycopg.OperationalError):
        return False  # no connection was made, or PostgreSQL answered with an error and rolled back
    return cause.orig.sqlstate is None or cause.orig.sqlstate.startswith(("08", "57P"))


async def find_started(statement: TextClause, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that the start with these ``parameters`` claimed, as they were then.

    A cancel may have been requested since. It is left out, because the attempt is written already: the recording of the answer
    finds it, as it finds every cancel that is requested during a call.
    """
    give_up_at = asyncio.get_running_loop().time() + START_SECONDS
    while True:
        with suppress(ServiceUnavailable):
            if rows := (await execute_alone(Role.WORKER, statement, parameters)).all():
                return [{**row, "now": row["processing_at"], **dict.fromkeys(row.keys() & _LATER)} for row in rows]
        if asyncio.get_running_loop().time() >= give_up_at:
            return []
        await asyncio.sleep(CONFIRM_SECONDS)


_LATER = frozenset({"cancel_requested_at"})
"""Columns of a claimed row that are empty in a row which has just been started."""


class ClaimInDoubt(ServiceUnavailable):
    """The COMMIT of a resume was not acknowledged. The claims are valid if it was committed."""

    def __init__(self, claims: list[Any], transaction_id: str) -> None:
        super().__init__(retry_after_seconds=1)
        self.claims = claims
        self.transaction_id = transaction_id


async def was_committed(doubt: ClaimInDoubt, *, give_up_at: float) -> bool:
    """Return whether the claim's transaction was committed, as soon as the server knows.

    The answer is ``False`` from ``give_up_at`` on.
    """
    loop = asyncio.get_running_loop()
    while loop.time() < give_up_at:
        with suppress(ServiceUnavailable):
            async with transaction(Role.WORKER) as connection:
                found = await connection.execute(COMMIT_STATUS, {"transaction_id": doubt.transaction_id})
                # The server may still see the transaction running for a moment after our connection broke.
                if (status := found.scalar()) != "in progress":
                    return bool(status == "committed")
        await asyncio.sleep(CONFIRM_SECONDS)
    return False


_RECORDED = """
    -- recorded earlier: rows that have our fence and no lease any more. Only a recording of ours can have ended it
    SELECT r.id, r.status, r.provider, {method_type} AS method_type, r.failure_code AS code,
           coalesce(extract(epoch FROM {ended_at} - r.created_at)::float, 0) AS age
    FROM unnest(CAST(:ids AS text[]), CAST(:fences AS integer[])) AS i(id, fence) JOIN {entity}s r ON r.id = i.id
    WHERE r.id = ANY(CAST(:ids AS text[])) AND r.fence = i.fence AND r.lease_until IS NULL
"""
# payments is a table of a higher layer. It is read here, because a refund's metrics are counted by its payment's method.
RECORDED = {
    "payment": text(
        _RECORDED.format(
            entity="payment",
            method_type="r.method_type",
            ended_at="coalesce(r.completed_at, r.failed_at, r.cancelled_at)",
        )
    ),
    "refund": text(
        _RECORDED.format(
            entity="refund",
            # A scalar by its key: a cached plan of a join may read the payments of all months into a hash.
            method_type="(SELECT p.method_type FROM payments p WHERE p.id = r.payment_id)",
            ended_at="coalesce(r.completed_at, r.failed_at)",
        )
    ),
}
"""Entity → the statement of ``find_recorded``."""


async def find_recorded(entity: str, claims: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the rows of ``claims`` that an earlier try has recorded, with what the metrics count."""
    parameters = {"ids": [claim.id for claim in claims], "fences": [claim.fence for claim in claims]}
    return (await execute_alone(Role.WORKER, RECORDED[entity], parameters)).all()
