"""Read rows by id for many callers at once: concurrent reads of one kind share one statement.

A read through a transaction of its own takes three round trips and 1.8 to 2.3 ms of CPU, of which the row itself is a
fiftieth. ``GatheredReads`` reads the rows of all callers that wait (``workflows.database.group_commit``): a single read is
sent at once, and groups grow with the load.

The statement runs under a role that sees every tenant, so it checks each row itself, against the caller of that row:

| check                                    | where                                                                      |
|------------------------------------------|----------------------------------------------------------------------------|
| the device is active, its key not replaced | in the statement, as ``caller_transaction`` does; else no row is returned  |
| the row is in the caller's scope         | in the statement (``scope_condition``); else no row is returned            |
| the same, independently                  | ``check_owner``, on each row before it is given to its caller              |

The last check replaces row-level security, which knows a single caller per transaction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from workflows.database.engines import Role, rows_parameter
from workflows.database.group_commit import GroupCommit
from workflows.database.months import MonthlyStatement, execute_in_month
from workflows.errors import ResourceNotFound
from workflows.tenants.caller import Caller, CallerRole, device_not_active_error
from workflows.tenants.scope import check_owner, scope_condition

Row = TypeVar("Row")

GROUP_LIMIT = 100  # reads per statement; a larger group saves little and delays its first caller
CONCURRENCY = 2  # concurrent groups: the answers of one are rendered while the database reads the next


def read_statement(rows: str) -> MonthlyStatement:
    """Return the statement that reads the rows of a group.

    ``rows`` selects the row ``r`` whose id is ``i.id``, with its ``merchant_id`` and ``store_id``: it ends in a WHERE clause,
    to which the conditions on the caller are added.
    """
    scope = scope_condition(merchant_id="r.merchant_id", store_id="r.store_id", caller="i.")
    # devices is a table of a higher layer. It is read here, so that a suspended device is refused in the same round trip.
    return MonthlyStatement(f"""
        -- read: the status of each caller's device, and the row that the caller asks for if it may see it
        SELECT i.n, d.status AS caller_status, CASE i.scope WHEN 'psp' THEN psp_of(found.merchant_id) END AS owner_psp_id,
               found.*
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(n integer, id text, scope text, psp_id text, merchant_id text,
                                                           store_id text, device_id text, client_id text)
        LEFT JOIN LATERAL (
            SELECT CASE WHEN i.client_id IN ('', client_id) THEN status ELSE 'replaced' END AS status
            FROM devices WHERE id = i.device_id LIMIT 1
        ) d ON true
        LEFT JOIN LATERAL (
            {rows} AND (i.device_id IS NULL OR d.status = 'active') AND {scope} LIMIT 1
        ) found ON true
    """)


@dataclass(frozen=True, slots=True)
class Read:
    """The read of one row by one caller."""

    entity_id: str
    caller: Caller

    def row(self, number: int) -> dict[str, Any]:
        """Return the input row of ``read_statement``."""
        caller = self.caller
        return {
            "n": number,
            "id": self.entity_id,
            "scope": caller.scope,
            "psp_id": caller.psp_id,
            "merchant_id": caller.merchant_id,
            "store_id": caller.store_id,
            "device_id": caller.id if caller.role is CallerRole.DEVICE else None,
            "client_id": caller.client_id,
        }


class GatheredReads(Generic[Row]):
    """Reads rows of one kind in groups. A process has one instance per kind, which is bound to one event loop.

    ``statement`` is made by ``read_statement``. ``build`` turns a row of it into the result.
    """

    def __init__(
        self, statement: MonthlyStatement, *, build: Callable[[dict[str, Any]], Row], timeout_seconds: float
    ) -> None:
        self._statement = statement
        self._build = build
        self._group: GroupCommit[Read, Row] = GroupCommit(
            self._flush, limit=GROUP_LIMIT, concurrency=CONCURRENCY, timeout_seconds=timeout_seconds
        )

    async def read(self, entity_id: str, *, caller: Caller) -> Row:
        """Return the row with this id.

        Raises ``ResourceNotFound`` if the caller may not see it, the error of ``device_not_active_error``, and
        ``ServiceUnavailable``.
        """
        return await self._group.put(Read(entity_id, caller))

    async def _flush(self, group: list[Read]) -> list[Row | BaseException]:
        rows = rows_parameter([read.row(number) for number, read in enumerate(group)])
        ids = [read.entity_id for read in group]
        found = (await execute_in_month(Role.ACCEPT, self._statement, ids, {"rows": rows})).all()
        results: list[Row | BaseException] = [ResourceNotFound() for _ in group]
        for row in found:
            number = row["n"]
            try:
                results[number] = self._result(group[number].caller, row)
            except Exception as error:  # any exception, so that the other callers get their rows nevertheless
                results[number] = error
        return results

    def _result(self, caller: Caller, row: dict[str, Any]) -> Row:
        if caller.role is CallerRole.DEVICE and row["caller_status"] != "active":
            raise device_not_active_error(row["caller_status"])
        if row["id"] is None:
            raise ResourceNotFound()
        owner = {"psp_id": row["owner_psp_id"], "merchant_id": row["merchant_id"], "store_id": row["store_id"]}
        check_owner(caller, owner)
        return self._build(row)
