"""Leases: how the exclusive, expiring right to work on rows is taken. Payments and refunds are claimed alike.

| statement  | takes                                    | leaves                                                  |
|------------|------------------------------------------|---------------------------------------------------------|
| start      | ``pending`` rows                         | ``processing``, attempt 1 unanswered, lease, fence      |
| resume     | ``processing`` rows due, with no lease   | lease, fence                                            |
| write ahead| resumed rows about to be sent (again)    | the attempt that the provider is about to hear of       |
| quarantine | rows whose claims were never answered    | no lease, no due time, a dead letter, ``needs_review``  |

All in one transaction, which ends before any provider is called. A row that another worker holds is skipped, not waited
for: its owner or the sweep will see to it. The fence grows with each claim, so a worker that wakes up late can record
nothing.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database import Role, rows_parameter, transaction
from workflows.ids import new_id
from workflows.payments.next_step import NOTHING_MOVED, Attempt, Facts, Step, next_step
from workflows.providers.base import Charge, GiveBack
from workflows.providers.registry import is_local

MAX_UNANSWERED_CLAIMS = 3
"""A row whose worker died this often in a row is quarantined, so that it cannot kill workers for ever."""

SUSPICIOUS_CLAIMS = 2
"""From so many unanswered claims on, a row is claimed alone. One row that kills its workers would else take all of its batch
into quarantine with it: they are claimed together, die together and become due together."""


AskedT = TypeVar("AskedT", bound=Charge | GiveBack)


@dataclass(frozen=True, slots=True)
class Claim(Generic[AskedT]):
    """A row that this worker may work on until its lease ends; ``asked`` is what its provider is asked to do."""

    id: str
    fence: int
    provider: str
    step: Step
    attempt_number: int
    asked: AskedT
    facts: Facts
    request_id: str | None
    bill_id: str | None


@dataclass(frozen=True)
class LeaseTable(Generic[AskedT]):
    """One kind of row that is worked on by lease.

    ``columns`` are what ``facts`` and ``asks`` need of a row, written with the alias ``r``. ``facts`` is what decides about
    a row and its last attempt (``None``: there is none yet), ``asks`` what its provider is asked for it under a reference.
    ``first_attempt`` is an SQL expression: 0 keeps a row from being sent. ``startable`` is a further condition that a pending
    row has to meet before a worker may claim it.
    """

    entity: str
    columns: str
    facts: Callable[[dict[str, Any], Attempt | None], Facts]
    asks: Callable[[dict[str, Any], Facts, str], AskedT]
    first_attempt: str = "1"
    startable: str = ""

    async def claim(
        self, ids: list[str], *, worker: str, lease_seconds: float, forgetful: Collection[str] = ()
    ) -> list[Claim[AskedT]]:
        """Claim those of ``ids`` that are free and due; the rest is somebody else's, final, not due yet, or a suspect.

        ``forgetful`` are the providers that do not deduplicate: after a call that did nothing they get a new reference.
        Raises ``ServiceUnavailable`` where the database is away: nothing is claimed then, and the sweep nudges again.
        """
        most = MAX_UNANSWERED_CLAIMS if len(ids) == 1 else SUSPICIOUS_CLAIMS - 1
        parameters = {"ids": ids, "lease": lease_seconds, "worker": worker, "most_unanswered": most}
        async with transaction(Role.WORKER) as connection:
            claimed = await self.start(connection, ids, worker=worker, lease_seconds=lease_seconds)
            if len(claimed) < len(ids):
                resumed = (await connection.execute(_statement(_RESUME, self), parameters)).mappings().all()
                rows = [{**row, "deduplicates": row["provider"] not in forgetful} for row in resumed]
                claimed += await self._take_up(connection, rows, worker=worker)
        return claimed

    async def start(
        self, connection: AsyncConnection, ids: list[str], *, worker: str, lease_seconds: float
    ) -> list[Claim[AskedT]]:
        """Claim those of ``ids`` that are pending, within the transaction of ``connection``."""
        parameters = {"ids": ids, "lease": lease_seconds, "worker": worker}
        started = (await connection.execute(_statement(_START, self), parameters)).mappings().all()
        return [self.build(dict(row), None) for row in started]

    async def suspects(self, ids: list[str]) -> list[str]:
        """Those of ``ids`` that are free and due, but are only claimed alone."""
        async with transaction(Role.WORKER) as connection:
            found = await connection.execute(_statement(_SUSPECTS, self), {"ids": ids, "deaths": SUSPICIOUS_CLAIMS})
            return list(found.scalars())

    def build(self, row: dict[str, Any], attempt: Attempt | None) -> Claim[AskedT]:
        """The claim of a row and its last attempt."""
        facts = self.facts(row, attempt)
        step = next_step(facts)
        number = attempt_number(step, attempt)
        return Claim(
            id=row["id"],
            fence=row["fence"],
            provider=row["provider"],
            step=step,
            attempt_number=number,
            asked=self.asks(row, facts, f"{row['id']}:{number}"),
            facts=facts,
            request_id=row["request_id"],
            bill_id=row["bill_id"],
        )

    async def _take_up(
        self, connection: AsyncConnection, rows: list[dict[str, Any]], *, worker: str
    ) -> list[Claim[AskedT]]:
        poisoned = [row["id"] for row in rows if row["unanswered_claims"] > MAX_UNANSWERED_CLAIMS]
        claimed = [self.build(row, _last_attempt(row)) for row in rows if row["id"] not in poisoned]
        new = [_key(c) for c in claimed if c.step is Step.CHARGE and needs_new_attempt(c.facts.attempt)]
        if new:
            await connection.execute(_statement(_NEW_ATTEMPTS, self), {"rows": rows_parameter(new)})
        resent = [_key(c) for c in claimed if c.step in (Step.RETRY, Step.RESEND)]
        if resent:
            await connection.execute(_statement(_RESENDS, self), {"rows": rows_parameter(resent)})
        if poisoned:
            letters = [{"id": row_id, "letter": new_id("dead_letter")} for row_id in poisoned]
            parameters = {"rows": rows_parameter(letters), "worker": worker}
            await connection.execute(_statement(_QUARANTINE, self), parameters)
        return claimed


def needs_new_attempt(attempt: Attempt | None) -> bool:
    """Whether sending means a new attempt number: only where the last one is known to have moved nothing."""
    return attempt is None or attempt.outcome in NOTHING_MOVED


def attempt_number(step: Step, attempt: Attempt | None) -> int:
    """The number of the attempt that ``step`` is about; 0 where no provider will hear of it."""
    number = attempt.number if attempt else 0
    return number + 1 if step is Step.CHARGE and needs_new_attempt(attempt) else number


def _last_attempt(row: dict[str, Any]) -> Attempt | None:
    if row["attempt_number"] is None:
        return None
    return Attempt(row["attempt_number"], row["attempt_outcome"], row["not_found_at"], int(row["resends"]))


def _key(claimed: Claim[Any]) -> dict[str, Any]:
    return {"id": claimed.id, "number": claimed.attempt_number}


_LEASE_COLUMNS = """r.id, r.fence, r.provider, r.outcome_known, r.in_doubt_since, r.needs_review, r.inquiries,
    r.unanswered_claims, r.request_id, now() AS now"""

_START = """
    -- start: every pending row of the batch becomes processing, with its history, its first attempt and one NOTIFY
    WITH picked AS (
        SELECT id FROM {entity}s WHERE id = ANY(:ids) AND status = 'pending' {startable} ORDER BY id FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE {entity}s r
        SET status = 'processing', version = r.version + 1, processing_at = now(), fence = r.fence + 1,
            lease_until = now() + make_interval(secs => :lease), due_at = now() + make_interval(secs => :lease),
            unanswered_claims = 1, attempts = {first_attempt}
        FROM picked WHERE r.id = ANY(:ids) AND r.id = picked.id
        RETURNING {columns}, r.version, r.merchant_id, r.store_id, r.attempts
    ), history AS (
        INSERT INTO {entity}_history ({entity}_id, version, merchant_id, store_id, event, from_status, to_status, at,
                                      caller_type, caller_id, request_id)
        SELECT id, version, merchant_id, store_id, 'claim', 'pending', 'processing', now, 'worker', :worker, request_id
        FROM claimed
    ), attempt AS (
        INSERT INTO {entity}_attempts ({entity}_id, number, merchant_id, store_id, provider, reference, sent_at)
        SELECT id, 1, merchant_id, store_id, provider, id || '\\:1', now FROM claimed WHERE attempts = 1
    )
    SELECT claimed.*, (SELECT pg_notify('{entity}s', string_agg(id || ':' || version, ' ')) FROM claimed)
    FROM claimed
"""

_RESUME = """
    -- resume: what is already processing, due and held by nobody, together with its last attempt
    WITH picked AS (
        SELECT id FROM {entity}s
        WHERE id = ANY(:ids) AND status = 'processing' AND due_at <= now()
          AND (lease_until IS NULL OR lease_until <= now()) AND unanswered_claims <= :most_unanswered
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE {entity}s r
    SET fence = r.fence + 1, lease_until = now() + make_interval(secs => :lease),
        due_at = now() + make_interval(secs => :lease), unanswered_claims = r.unanswered_claims + 1
    FROM picked LEFT JOIN LATERAL (
        SELECT number, outcome, not_found_at, sum(resends) OVER () AS resends FROM {entity}_attempts a
        WHERE a.{entity}_id = picked.id ORDER BY number DESC LIMIT 1
    ) last ON true
    WHERE r.id = ANY(:ids) AND r.id = picked.id
    RETURNING {columns}, r.store_id, last.number AS attempt_number, last.outcome AS attempt_outcome, last.not_found_at,
              last.resends
"""

_SUSPECTS = """
    -- suspects: rows that were claimed and never answered several times, which a batch leaves out
    SELECT id FROM {entity}s
    WHERE id = ANY(:ids) AND status = 'processing' AND due_at <= now()
      AND (lease_until IS NULL OR lease_until <= now()) AND unanswered_claims >= :deaths
    ORDER BY id
"""

_NEW_ATTEMPTS = """
    -- write ahead: the next attempt of rows whose last one certainly moved nothing
    WITH input AS (SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(id text, number integer)),
    counted AS (
        UPDATE {entity}s r SET attempts = i.number
        FROM input i WHERE r.id = ANY(ARRAY(SELECT id FROM input)) AND r.id = i.id
        RETURNING r.id, r.merchant_id, r.store_id, r.provider, i.number
    )
    INSERT INTO {entity}_attempts ({entity}_id, number, merchant_id, store_id, provider, reference, sent_at)
    SELECT id, number, merchant_id, store_id, provider, id || ':' || number, now() FROM counted
"""

_RESENDS = """
    -- write ahead: the same reference once more. The first answer leaves the attempt's row, so it becomes a message.
    WITH input AS (SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(id text, number integer)),
    kept AS (
        INSERT INTO {entity}_messages ({entity}_id, merchant_id, store_id, attempt, kind, answer, detail, at)
        SELECT a.{entity}_id, a.merchant_id, a.store_id, a.number, 'first_answer', a.outcome,
               jsonb_strip_nulls(jsonb_build_object('code', a.code, 'message', a.message)), a.answered_at
        FROM input i JOIN {entity}_attempts a ON a.{entity}_id = i.id AND a.number = i.number
        WHERE a.{entity}_id = ANY(ARRAY(SELECT id FROM input)) AND a.resends = 0 AND a.outcome = 'unavailable'
    )
    UPDATE {entity}_attempts a SET outcome = NULL, answered_at = NULL, not_found_at = NULL, resends = a.resends + 1
    FROM input i WHERE a.{entity}_id = ANY(ARRAY(SELECT id FROM input)) AND a.{entity}_id = i.id AND a.number = i.number
"""

_QUARANTINE = """
    -- quarantine: nobody looks at these again until an operator requeues them
    WITH input AS (SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(id text, letter text)),
    stopped AS (
        UPDATE {entity}s r SET due_at = NULL, lease_until = NULL, needs_review = true, outcome_known = false,
               in_doubt_since = coalesce(r.in_doubt_since, now()), version = r.version + 1
        FROM input i WHERE r.id = ANY(ARRAY(SELECT id FROM input)) AND r.id = i.id
        RETURNING r.id, r.version, r.merchant_id, r.store_id, r.status, r.request_id, r.unanswered_claims, i.letter
    ), history AS (
        INSERT INTO {entity}_history ({entity}_id, version, merchant_id, store_id, event, from_status, to_status, at,
                                      caller_type, caller_id, reason, request_id)
        SELECT id, version, merchant_id, store_id, 'request_review', status, status, clock_timestamp(), 'worker', :worker,
               'quarantined', request_id FROM stopped
    ), told AS (SELECT pg_notify('{entity}s', id || ':' || version) FROM stopped)
    INSERT INTO dead_letters (id, task, arguments, entity_id, deliveries, reason, created_at)
    SELECT letter, '{entity}s.process', jsonb_build_array(jsonb_build_array(id)), id, unanswered_claims - 1,
           'its worker died or stopped answering each time it was claimed', now()
    FROM stopped, (SELECT count(*) FROM told) AS t
"""

_rendered: dict[tuple[str, str], TextClause] = {}


def _statement(template: str, table: LeaseTable[Any]) -> TextClause:
    """``template`` for ``table``, made once: the names in it are ours, every value is a bound parameter."""
    key = (table.entity, template)
    if key not in _rendered:
        columns = f"{_LEASE_COLUMNS}, {table.columns}"
        of_kind = {"first_attempt": table.first_attempt, "startable": table.startable}
        _rendered[key] = text(template.format(entity=table.entity, columns=columns, **of_kind))
    return _rendered[key]


def facts_of(row: dict[str, Any], attempt: Attempt | None, **special: Any) -> Facts:
    """The facts that all kinds have in common, with the ``special`` ones of a kind."""
    return Facts(
        now=row["now"],
        attempt=attempt,
        outcome_known=row["outcome_known"],
        in_doubt_since=row["in_doubt_since"],
        needs_review=row["needs_review"],
        inquiries=row["inquiries"],
        deduplicates=row.get("deduplicates", True),
        is_local=is_local(row["provider"]),
        **special,
    )
