"""Fetch a settlement's statements from the providers' APIs, and store them like uploaded files.

The payments that a provider moved in a period and those that we settled in it differ at its edges: by the seconds that an
answer takes, and by payments in doubt. The statement of a longer time than the period is therefore requested, and only the
following lines of it are stored:

| their line is about                                          | stored                                                      |
|--------------------------------------------------------------|-------------------------------------------------------------|
| a payment or refund of this settlement                       | always                                                      |
| a row whose doubt this settlement's statement ended          | always, so that a later statement has the same lines        |
| a reversal of a row in doubt, up to ``SLACK`` after the end  | if the row's charge is stored too: no money moved in total  |
| a row that is, or will be, in another settlement             | never: it belongs to that settlement's statement            |
| any other row in another currency                            | never, if the store has a day in that currency              |
| a row that is unknown to us, or that never succeeded         | if it happened within ``[start, end)``                      |

A payment of ours that the provider moved in another currency belongs to this settlement too, because our currency decides.

An uploaded file is replaced only by another upload, because it may be a correction that the API does not know of.
No transaction is open during a call to a provider, and at most one page of its answer is in memory.
"""

import csv
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Any

from sqlalchemy import text

from workflows.database.engines import use_bulk_settings
from workflows.errors import InvalidRequest
from workflows.providers.base import Provider, StatementLine, Unavailable
from workflows.providers.registry import Providers
from workflows.providers.statement_mapping import StatementMapping
from workflows.reconciliation.find_archived import ARCHIVED
from workflows.reconciliation.statements.store_file import Incoming, receive_statement
from workflows.settlements.models import Settlement
from workflows.settlements.states import SETTLEMENT, SettlementEvent, SettlementStatus
from workflows.tenants.actor import Actor
from workflows.transitions import invalid_transition_error

SLACK = timedelta(hours=1)
"""The margin requested before and after the period: clocks may differ, and an answer may have taken long."""

FILE_COLUMNS = StatementLine._fields
MAPPING = StatementMapping(
    columns={name: name for name in FILE_COLUMNS},
    signs="signed",
)
"""The mapping of the files that this module writes."""


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The result of requesting a provider's statement: the statement's id, or the reason why there is none."""

    provider: str
    statement_id: str | None = None
    error: str | None = None


def fetch_result_fields(fetched: FetchResult) -> dict[str, str | None]:
    """Return the API fields of a ``FetchResult``."""
    return {"provider": fetched.provider, "statement_id": fetched.statement_id, "trouble": fetched.error}


_WANTED = text("""
    -- wanted: the providers that may have moved money for this settlement, and since when: late lines began before it did
    SELECT s.id, s.status, s.store_id, s.currency, s.start_at, s.end_at, least(s.start_at, (
               SELECT min(coalesce(p.processing_at, l.occurred_at)) FROM settlement_lines l
               LEFT JOIN payments p ON p.id = l.payment_id WHERE l.settlement_id = s.id AND l.is_late)) AS since,
           ARRAY(SELECT DISTINCT provider FROM settlement_lines l WHERE l.settlement_id = s.id AND l.kind <> 'adjustment'
                 UNION SELECT provider FROM store_providers v WHERE v.store_id = s.store_id) AS providers,
           ARRAY(SELECT DISTINCT currency FROM settlements o WHERE o.store_id = s.store_id AND o.currency <> s.currency
                 AND o.start_at < s.end_at AND o.end_at > s.start_at) AS other_currencies,
           ARRAY(SELECT provider FROM (SELECT DISTINCT ON (provider) provider, source FROM statements
                 WHERE settlement_id = s.id ORDER BY provider, number DESC) last
                 WHERE source = 'upload') AS uploaded
    FROM settlements s WHERE s.id = :id
""")
_HOMES = text(f"""
    -- homes: the settlement that the payment of each line belongs to; payments of other stores count as unknown
    SELECT r.reference, CASE WHEN e.settlement_id = :id THEN 'here'
                             WHEN e.status NOT IN ('pending', 'processing') AND EXISTS (
                                 SELECT FROM statement_evidence v WHERE v.entity_id = e.id AND v.settlement_id = :id
                                 AND v.our_reference = r.reference AND v.status <> 'processing') THEN 'here'
                             WHEN e.completed_at IS NOT NULL OR e.currency <> :currency THEN 'elsewhere'
                             WHEN e.status = 'processing' THEN 'in_doubt' END AS home
    FROM unnest(CAST(:references AS text[])) AS r(reference) JOIN LATERAL (
        SELECT id, status, settlement_id, completed_at, currency FROM payments
        WHERE id = split_part(r.reference, ':', 1) AND store_id = :store_id
        UNION ALL
        SELECT id, status, settlement_id, completed_at, currency FROM refunds
        WHERE id = split_part(r.reference, ':', 1) AND store_id = :store_id
        UNION ALL
        SELECT entity_id, 'completed', settlement_id, occurred_at, currency FROM settlement_lines l
        WHERE kind = 'payment' AND entity_id = split_part(r.reference, ':', 1) AND store_id = :store_id
          AND {ARCHIVED.format(line="l")}
    ) e ON true
""")


async def fetch_statements(settlement_id: str, *, actor: Actor, providers: Providers) -> list[FetchResult]:
    """Fetch and store the statement of each provider of a settlement, and return one result per provider.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (open, or already reconciled) and ``ServiceUnavailable``.
    """
    async with actor.transaction(is_long=True) as connection:
        await actor.require_visible(connection, Settlement, settlement_id)
        await use_bulk_settings(connection)
        wanted = dict((await connection.execute(_WANTED, {"id": settlement_id})).mappings().one())
    if wanted["status"] != SettlementStatus.CLOSED:
        raise invalid_transition_error(SETTLEMENT, wanted["status"], SettlementEvent.RECONCILE)
    names = sorted(set(wanted["providers"]) & set(providers.remote) - set(wanted["uploaded"]))
    return [await _fetch(providers.remote[name], wanted, actor=actor) for name in names]


async def _fetch(provider: Provider, wanted: dict[str, Any], *, actor: Actor) -> FetchResult:
    """Fetch a provider's statement page by page into a file, and store the file."""
    doubts = _Doubts(set(), {})
    with tempfile.TemporaryFile() as file:
        writer = _Writer(file)
        pages = provider.statement(wanted["store_id"], start=wanted["since"] - SLACK, end=wanted["end_at"] + SLACK)
        async for page in pages:
            if isinstance(page, Unavailable):
                return FetchResult(provider.name, error=page.reason)
            writer.write(await _select(page, wanted, doubts, actor=actor))
        writer.finish()
        incoming = Incoming(wanted["id"], provider.name, file, "csv", source="api", mapping=MAPPING)
        try:
            stored = await receive_statement(incoming, actor=actor)
        except InvalidRequest as unreadable:  # nobody is present to correct the statement, so it is fetched again later
            return FetchResult(provider.name, error=f"{unreadable.text}: {unreadable.details[0].issue}")
    return FetchResult(provider.name, statement_id=stored.resource_id)


@dataclass(frozen=True, slots=True)
class _Doubts:
    """The references of payments and refunds in doubt on the pages that were read so far.

    ``charged`` are the references whose charge is stored. ``reversals`` are the late reversals of references whose charge was
    not found yet.
    """

    charged: set[str]
    reversals: dict[str, list[StatementLine]]


async def _select(
    page: Sequence[StatementLine], wanted: dict[str, Any], doubts: _Doubts, *, actor: Actor
) -> list[StatementLine]:
    """Return the settlement's lines of ``page``, and the late reversals whose charge is stored now.

    Such a reversal may be a line of an earlier page.
    """
    references = sorted({line.our_reference for line in page if line.our_reference})
    parameters = {name: wanted[name] for name in ("id", "store_id", "currency")}
    async with actor.transaction(is_long=True) as connection:
        found = await connection.execute(_HOMES, {**parameters, "references": references})
        homes = {row.reference: row.home for row in found}
    selected = []
    for line in page:
        reference, home = line.our_reference or "", homes.get(line.our_reference)
        is_selected, is_in_doubt = _belongs(line, home, wanted), home == "in_doubt"
        if is_in_doubt and line.kind == "reversal" and _is_after(line, wanted):
            # A late reversal is, for example, the provider's own reversal a minute after midnight.
            is_selected = reference in doubts.charged
            if not is_selected:
                doubts.reversals.setdefault(reference, []).append(line)
        if is_selected:
            selected.append(line)
        if is_selected and is_in_doubt and line.kind == "payment":
            doubts.charged.add(reference)
            selected += doubts.reversals.pop(reference, [])
    return selected


def _is_after(line: StatementLine, wanted: dict[str, Any]) -> bool:
    return bool(datetime.fromisoformat(line.at) >= wanted["end_at"])


def _belongs(line: StatementLine, home: str | None, wanted: dict[str, Any]) -> bool:
    """Return whether a line belongs to this settlement's statement.

    ``home`` says where the line's payment or refund is settled: ``here``, ``elsewhere``, ``in_doubt``, or ``None`` if unknown.
    If it is in doubt or unknown, the time of the line decides. A line in the currency of another settlement of this time
    belongs only if it is settled here.
    """
    if home in ("here", "elsewhere") or line.currency in wanted["other_currencies"]:
        return home == "here"
    return bool(wanted["start_at"] <= datetime.fromisoformat(line.at) < wanted["end_at"])


class _Writer:
    """A writer of the CSV that is stored as the raw file. Equal lines give equal bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self._rows = csv.writer(self._text, lineterminator="\n")
        self._rows.writerow(FILE_COLUMNS)

    def write(self, lines: list[StatementLine]) -> None:
        self._rows.writerows(lines)

    def finish(self) -> None:
        """Flush the text and detach from the file, which stays open."""
        self._text.flush()
        self._text.detach()
