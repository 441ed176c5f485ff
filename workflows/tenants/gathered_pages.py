"""Read the first rows of a store's list for many callers at once: concurrent pages of one list share a statement.

A terminal's page is the newest rows of its own store, without a filter. Through a transaction of its own it took four round
trips, and Python that read every column. ``GatheredPages`` reads the pages of all callers that wait in one statement, with the
shown columns only. It checks each caller as ``workflows.tenants.gathered_reads`` does: the device and the tenant rule in the
statement, and the owner of each row once more in Python.

Any other list is walked (``workflows.tenants.walk``).
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import TextClause, text

from workflows.database.engines import Role, rows_parameter
from workflows.database.group_commit import GroupCommit
from workflows.database.hot_path import execute_alone
from workflows.tenants.caller import Caller, CallerRole, Scope, device_not_active_error
from workflows.tenants.gathered_reads import Read
from workflows.tenants.scope import check_owner, scope_condition

GROUP_LIMIT = 8  # pages per statement: up to 1,600 rows, which are rendered before the event loop does anything else
CONCURRENCY = 2  # of the connections that also accept payments

ABOVE_ALL_IDS = "zzzz"
"""The cursor of a first page. Ids begin with a prefix of lower-case letters, none with a z, in any collation."""


def page_statement(table: str, columns: str) -> TextClause:
    """Return the statement that reads the newest rows of ``table`` for each page of a group.

    The columns, of ``r``, must include ``id``, ``merchant_id`` and ``store_id``.
    """
    scope = scope_condition(merchant_id="r.merchant_id", store_id="r.store_id", caller="i.")
    # devices is a table of a higher layer. It is read here, so that a suspended device is refused in the same round trip.
    return text(f"""
        -- page: the status of each caller's device, and the newest rows of its store if it may see them
        SELECT i.n AS page_n, d.status AS caller_status, found.*
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(n integer, id text, page_size integer, scope text,
            psp_id text, merchant_id text, store_id text, device_id text, client_id text)
        LEFT JOIN LATERAL (
            SELECT CASE WHEN i.client_id IN ('', client_id) THEN status ELSE 'replaced' END AS status
            FROM devices WHERE id = i.device_id LIMIT 1
        ) d ON true
        LEFT JOIN LATERAL (
            SELECT {columns} FROM {table} r
            WHERE r.store_id = i.store_id AND r.id < i.id AND (i.device_id IS NULL OR d.status = 'active') AND {scope}
            ORDER BY r.id DESC LIMIT i.page_size
        ) found ON true
        ORDER BY i.n, found.id DESC
    """)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of up to ``limit`` rows of the caller's store, older than the id ``before``."""

    caller: Caller
    limit: int
    before: str | None

    def row(self, number: int) -> dict[str, Any]:
        """Return the input row of ``page_statement``."""
        return {**Read(self.before or ABOVE_ALL_IDS, self.caller).row(number), "page_size": self.limit}


class GatheredPages:
    """Reads pages of one list in groups. A process has one instance per list, which is bound to one event loop."""

    def __init__(self, statement: TextClause, *, timeout_seconds: float) -> None:
        """Create the reader. ``statement`` is made by ``page_statement``."""
        self._statement = statement
        self._group: GroupCommit[Page, list[dict[str, Any]]] = GroupCommit(
            self._flush, limit=GROUP_LIMIT, concurrency=CONCURRENCY, timeout_seconds=timeout_seconds
        )

    async def read(self, *, caller: Caller, limit: int, before: str | None) -> list[dict[str, Any]]:
        """Return up to ``limit`` rows of the caller's store, newest first, older than the id ``before``.

        Raises ``ValueError`` for a caller above the stores, the error of ``device_not_active_error``, and
        ``ServiceUnavailable``.
        """
        if caller.scope is not Scope.STORE:
            raise ValueError("only a caller of a store has a page of its own")
        return await self._group.put(Page(caller, limit, before))

    async def _flush(self, group: list[Page]) -> list[list[dict[str, Any]] | BaseException]:
        rows = rows_parameter([page.row(number) for number, page in enumerate(group)])
        pages: list[list[dict[str, Any]]] = [[] for _ in group]
        for row in (await execute_alone(Role.ACCEPT, self._statement, {"rows": rows})).all():
            pages[row["page_n"]].append(row)
        return [_checked(page.caller, found) for page, found in zip(group, pages, strict=True)]


def _checked(caller: Caller, found: list[dict[str, Any]]) -> list[dict[str, Any]] | BaseException:
    """Return the rows of a page, or the error of its caller.

    ``found`` has one row without an id if the page is empty.
    """
    try:
        status = found[0]["caller_status"]
        if caller.role is CallerRole.DEVICE and status != "active":
            return device_not_active_error(status)
        rows = [row for row in found if row["id"] is not None]
        for row in rows:
            check_owner(caller, row)
    except Exception as error:  # any exception, so that the other callers get their pages nevertheless
        return error
    return rows
