"""Claim rows: take the exclusive, expiring right to process them. Payments and refunds are claimed in the same way.

| statement   | selects                                  | writes                                                  |
|-------------|------------------------------------------|---------------------------------------------------------|
| start       | ``pending`` rows                         | ``processing``, attempt 1 unanswered, lease, fence      |
| resume      | ``processing`` rows due, with no lease   | lease, fence                                            |
| write ahead | resumed rows about to be sent (again)    | the attempt that the provider is about to receive       |
| quarantine  | rows whose claims were never answered    | no lease, no due time, a dead letter, ``needs_review``  |

A start is one statement and its own transaction: one round trip. If it claims fewer rows than it was asked for, the other
statements run in a second transaction. Both end before any provider is called. A row that another worker has leased is
skipped, not waited for: that worker or the sweep will process it. The fence grows with each claim, so a worker that continues
after its lease has expired records nothing.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

from sqlalchemy import TextClause

from workflows.database.connection import Connection
from workflows.database.engines import Role, rows_parameter, transaction
from workflows.database.months import ALL, MonthlyStatement, execute_in_month, execute_within
from workflows.errors import ServiceUnavailable
from workflows.ids import new_id
from workflows.processing import shared_statements as statements
from workflows.processing.delays import DUE_AHEAD, LEASE_AHEAD
from workflows.processing.lost_answers import ClaimInDoubt, find_started, lease_of_its_own, may_have_run
from workflows.processing.next_step import NOTHING_MOVED, Attempt, Facts, Step, next_step
from workflows.processing.rows import ClaimedRow, LastAttempt, ResumedRow
from workflows.providers.base import Charge, ChargeRefund
from workflows.providers.registry import is_local, longest_call_seconds
from workflows.settings import Settings

logger = logging.getLogger(__name__)

MAX_UNANSWERED_CLAIMS = 3
"""A row whose worker died during this many consecutive claims is quarantined, so that it cannot crash workers endlessly."""

POISON_SUSPECT_CLAIMS = 2
"""From this many unanswered claims on, a row is claimed on its own. Otherwise a row that crashes its worker would drag its
whole batch into quarantine, because the rows are claimed together, lose their worker together and become due together."""

RequestT = TypeVar("RequestT", bound=Charge | ChargeRefund)


@dataclass(frozen=True, slots=True)
class Claim(Generic[RequestT]):
    """A row that this worker may process until its lease ends. ``request`` is what its provider receives."""

    id: str
    fence: int
    provider: str
    step: Step
    attempt_number: int
    request: RequestT
    facts: Facts
    request_id: str | None
    bill_id: str | None


class UnclaimedRow(NamedTuple):
    """A row that was not claimed but may be claimed later, because it waits for a slot or is a poison candidate."""

    id: str
    provider: str
    is_poison_candidate: bool


class LeaseTable(ABC, Generic[RequestT]):
    """A kind of row that is processed under a lease: the parts of the statements and of a claim that depend on the kind."""

    entity: ClassVar[str]
    columns: ClassVar[str]
    """SQL: the columns that ``facts`` and ``build_request`` read. The row's alias is ``r``."""
    first_attempt: ClassVar[str] = "1"
    """SQL expression for the number of the first attempt. The row's alias is ``r``. 0 means that the row is not sent."""
    startable: ClassVar[str] = ""
    """SQL: a further condition (``AND …``) that a pending row must meet before a worker may claim it. The row has no alias."""
    unwanted: ClassVar[str] = "false"
    """SQL condition: the row is not sent (any more), so it needs no call unless a provider has it. The row has no alias."""
    month: ClassVar[str] = ""
    """``months.MARK`` if the tables are partitioned by month."""

    @abstractmethod
    def facts(self, row: Any, attempt: Attempt | None) -> Facts:
        """Return the facts that decide the next step of a row; ``attempt`` is its last attempt, if any."""

    @abstractmethod
    def build_request(self, row: Any, facts: Facts, reference: str) -> RequestT:
        """Return the request to the row's provider, under our ``reference``."""

    async def claim(
        self,
        ids: list[str],
        *,
        worker: str,
        lease_seconds: float,
        non_idempotent: Collection[str] = (),
        full: Collection[str] = (),
    ) -> list[Claim[RequestT]]:
        """Claim those of ``ids`` that are due and not leased, except poison candidates.

        ``non_idempotent`` are the providers that do not deduplicate. After a call that did nothing, their rows are sent under
        a new reference.
        ``full`` are the providers that cannot be called now. Of their rows, only those that need no call are claimed.

        Raises ``ServiceUnavailable`` if the database is unavailable; then nothing is claimed, and the sweep nudges again.
        Raises ``ClaimInDoubt`` if the COMMIT of a resume was not acknowledged.
        """
        max_unanswered = MAX_UNANSWERED_CLAIMS if len(ids) == 1 else POISON_SUSPECT_CLAIMS - 1
        parameters = {
            "ids": ids,
            "lease": lease_of_its_own(lease_seconds),
            "worker": worker,
            "max_unanswered": max_unanswered,
            "full": [*full],
        }
        claimed = [self.build(row, None) for row in await self._start_alone(parameters)]
        if len(claimed) == len(ids):
            return claimed
        try:
            return [*claimed, *await self._resume_others(parameters, non_idempotent)]
        except Exception as error:
            if not claimed:
                raise
            # The started rows are claimed, so they are processed. The others are left to the sweep, or to their lease.
            left, trace = len(ids) - len(claimed), not isinstance(error, ServiceUnavailable)
            extra = {"event": f"{self.entity}.not_resumed"}
            logger.warning("%d %ss could not be resumed: %s", left, self.entity, error, extra=extra, exc_info=trace)
            return claimed

    async def _start_alone(self, parameters: dict[str, Any]) -> list[ClaimedRow]:
        """Start rows in a transaction of its own; look them up if the answer is lost."""
        try:
            start = _monthly(statements.START, self)
            started = (await execute_in_month(Role.WORKER, start, parameters["ids"], parameters)).all()
        except ServiceUnavailable as error:
            if not may_have_run(error):
                raise
            started = await find_started(_statement(statements.STARTED, self), parameters)
            if not started:
                raise
        return cast(list[ClaimedRow], started)

    async def _resume_others(
        self, parameters: dict[str, Any], non_idempotent: Collection[str]
    ) -> list[Claim[RequestT]]:
        """Claim the rows that are not pending, in one transaction."""
        claimed: list[Claim[RequestT]] = []
        transaction_id = ""
        try:
            async with transaction(Role.WORKER) as connection:
                resume = _monthly(statements.RESUME, self)
                found = (
                    await execute_within(connection, resume, parameters["ids"], parameters, role=Role.WORKER)
                ).mappings()
                rows = [
                    cast(ResumedRow, {**row, "deduplicates": row["provider"] not in non_idempotent}) for row in found
                ]
                transaction_id = next((row["transaction_id"] for row in rows), "")
                claimed = await self._resume(connection, rows, worker=parameters["worker"])
        except ServiceUnavailable as error:
            if claimed:
                raise ClaimInDoubt(claimed, transaction_id) from error
            raise
        return claimed

    async def start(
        self, connection: Connection, ids: list[str], *, worker: str, lease_seconds: float
    ) -> list[Claim[RequestT]]:
        """Claim those of ``ids`` that are pending, within the transaction of ``connection``."""
        parameters = {"ids": ids, "lease": lease_seconds, "worker": worker, "full": []}
        started = await execute_within(connection, _monthly(statements.START, self), ids, parameters, role=Role.WORKER)
        return [self.build(cast(ClaimedRow, row), None) for row in started.mappings()]

    async def unclaimed_rows(
        self, ids: list[str], *, full: Collection[str], lease_seconds: float
    ) -> list[UnclaimedRow]:
        """Return those of ``ids`` that are due and not leased, but wait for a slot or must be claimed alone."""
        parameters = {"ids": ids, "candidate_from": POISON_SUSPECT_CLAIMS, "full": [*full], "lease": lease_seconds}
        async with transaction(Role.WORKER) as connection:
            return [
                UnclaimedRow(*row)
                for row in await connection.execute(_statement(statements.UNCLAIMED, self), parameters)
            ]

    def build(self, row: ClaimedRow, attempt: Attempt | None) -> Claim[RequestT]:
        """Return the claim of a row: its next step and the request to its provider.

        ``attempt`` is the row's last attempt, or ``None``.
        """
        facts = self.facts(row, attempt)
        step = next_step(facts)
        number = attempt_number(step, attempt)
        return Claim(
            id=row["id"],
            fence=row["fence"],
            provider=row["provider"],
            step=step,
            attempt_number=number,
            request=self.build_request(row, facts, f"{row['id']}:{number}"),
            facts=facts,
            request_id=row["request_id"],
            bill_id=row["bill_id"],
        )

    async def _resume(self, connection: Connection, rows: list[ResumedRow], *, worker: str) -> list[Claim[RequestT]]:
        poisoned = [row["id"] for row in rows if row["unanswered_claims"] > MAX_UNANSWERED_CLAIMS]
        claimed = [self.build(row, _last_attempt(row)) for row in rows if row["id"] not in poisoned]
        new = [_key(c) for c in claimed if c.step is Step.CHARGE and needs_new_attempt(c.facts.attempt)]
        if new:
            await connection.execute(_statement(statements.NEW_ATTEMPTS, self), {"rows": rows_parameter(new)})
        resent = [_key(c) for c in claimed if c.step in (Step.RETRY, Step.RESEND)]
        if resent:
            await connection.execute(_statement(statements.RESENDS, self), {"rows": rows_parameter(resent)})
        if poisoned:
            letters = [{"id": row_id, "letter": new_id("dead_letter")} for row_id in poisoned]
            parameters = {"rows": rows_parameter(letters), "worker": worker}
            await connection.execute(_statement(statements.QUARANTINE, self), parameters)
        return claimed


def needs_new_attempt(attempt: Attempt | None) -> bool:
    """Return whether sending needs a new attempt number.

    A new number is needed only if the last attempt is known to have moved nothing.
    """
    return attempt is None or attempt.outcome in NOTHING_MOVED


def attempt_number(step: Step, attempt: Attempt | None) -> int:
    """Return the number of the attempt that ``step`` is about; 0 if no provider will be called."""
    number = attempt.number if attempt else 0
    return number + 1 if step is Step.CHARGE and needs_new_attempt(attempt) else number


def _last_attempt(row: LastAttempt) -> Attempt | None:
    if row["attempt_number"] is None:
        return None
    return Attempt(row["attempt_number"], row["attempt_outcome"], row["not_found_at"], int(row["resends"]))


def _key(claimed: Claim[Any]) -> dict[str, Any]:
    return {"id": claimed.id, "number": claimed.attempt_number}


_rendered: dict[tuple[str, str], MonthlyStatement] = {}


def _statement(template: str, table: LeaseTable[Any]) -> TextClause:
    """Return ``template`` for ``table``, on the tables of all months."""
    return _monthly(template, table).of(ALL)


def _monthly(template: str, table: LeaseTable[Any]) -> MonthlyStatement:
    """Return ``template`` for ``table``, rendered once.

    Only our own names are filled in; values are bound parameters.
    """
    key = (table.entity, template)
    if key not in _rendered:
        columns = f"{statements.LEASE_COLUMNS}, {table.columns}"
        nothing_moved = ", ".join(f"'{outcome}'" for outcome in sorted(NOTHING_MOVED))
        names = {"first_attempt": table.first_attempt, "unwanted": table.unwanted, "startable": table.startable}
        names |= {"nothing_moved": nothing_moved, "due_ahead": DUE_AHEAD, "lease_ahead": LEASE_AHEAD}
        sql = template.format(entity=table.entity, month=table.month, columns=columns, **names)
        _rendered[key] = MonthlyStatement(sql)
    return _rendered[key]


def common_facts(row: ClaimedRow | ResumedRow, attempt: Attempt | None, **special: Any) -> Facts:
    """Return the facts of a row: the shared ones, and ``special``, those of payments or refunds only."""
    return Facts(
        now=row["now"],
        attempt=attempt,
        outcome_known=row["outcome_known"],
        in_doubt_since=row["in_doubt_since"],
        needs_review=row["needs_review"],
        inquiries=row["inquiries"],
        deduplicates=bool(row.get("deduplicates", True)),
        is_local=is_local(row["provider"]),
        **special,
    )


def longest_step(settings: Settings) -> timedelta:
    """Return the longest time that one step may take.

    A lease must be longer, which a worker checks when it starts.
    """
    return timedelta(seconds=longest_call_seconds(settings) + settings.statement_timeout_ms / 1000)
