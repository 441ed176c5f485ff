"""Sign off a closed settlement once nothing is left to compare, to resolve or to count.

Lines of providers without a statement cannot be compared. The column ``uncompared`` of a settlement lists those of its last
run. Unless a policy says that the provider sends no statements, a person has to accept them before the settlement is signed
off. An acceptance is valid for later runs as long as they leave the same lines uncompared.

| lines of                                        | are                                                              |
|-------------------------------------------------|------------------------------------------------------------------|
| cash                                            | compared with the cash count                                     |
| a provider with a statement                     | compared with it                                                 |
| a remote provider that may still report         | ``expected``                                                     |
| a provider without statements, by policy        | listed as not compared; the sign-off does not wait for them      |
| a remote provider that has not reported in time | listed as not compared; ``missing_at_provider`` until accepted   |
| any other provider                              | listed as not compared; signed off only if a person accepts them |
"""

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.providers.registry import PROVIDERS, reporting_names
from workflows.settlements.models import SettlementRow
from workflows.settlements.states import SETTLEMENT, SettlementEvent, SettlementStatus
from workflows.transitions import ChangeContext, apply

_STATE = text("""
    -- state: the settlement with its last run, or no row if there was none. EXISTS is used because there may be a million
    -- open breaks. A statement that was stored after the run has not been compared.
    SELECT s.status, s.cash_expected, s.cash_actual, r.number AS run,
           coalesce(CAST(s.uncompared ->> 'needs_acceptance' AS boolean), false) AS needs_acceptance,
           CAST(r.summary #>> '{categories,expected,count}' AS bigint) AS expected,
           EXISTS (SELECT FROM breaks b
                   WHERE b.settlement_id = s.id AND b.run = r.number AND b.resolution IS NULL) AS has_open_breaks,
           EXISTS (SELECT FROM (SELECT DISTINCT ON (provider) id FROM statements WHERE settlement_id = s.id
                                ORDER BY provider, number DESC) newest
                   WHERE newest.id <> ALL (r.statement_ids)) AS has_newer_statement
    FROM settlements s JOIN reconciliation_runs r ON r.settlement_id = s.id
    WHERE s.id = :id ORDER BY r.number DESC LIMIT 1
""")


async def sign_off_if_clean(connection: AsyncConnection, settlement_id: str, *, by: ChangeContext) -> bool:
    """Sign off a locked settlement if it is clean; return whether it was signed off.

    Clean means: no open break, no statement stored after the last run, no line that a statement may still bring, no line
    without a statement (unless a person accepted that), and the cash counted if any is expected.
    """
    row = (await connection.execute(_STATE, {"id": settlement_id})).mappings().one_or_none()
    if row is None or not is_clean(dict(row)):
        return False
    changes = {"open_breaks": 0, "reconciled_at": by.at, "reconciled_by": by.caller_id}
    await apply(
        connection, SETTLEMENT, entity_id=settlement_id, event=SettlementEvent.RECONCILE, by=by, changes=changes
    )
    return True


def is_clean(row: dict[str, Any]) -> bool:
    """Return whether nothing prevents this settlement from being signed off."""
    is_counted = row["cash_actual"] is not None or row["cash_expected"] == 0
    return bool(
        row["status"] == SettlementStatus.CLOSED
        and not row["has_open_breaks"]
        and not row["has_newer_statement"]
        and not row["expected"]
        and not row["needs_acceptance"]
        and is_counted
    )


_HAS_STATEMENT = """(provider = ANY(:stated) OR occurred_at + make_interval(secs => 3600 *
        coalesce(CAST(CAST(:sla_hours AS jsonb) ->> provider AS double precision), 0)) > now())"""
IS_COMPARED = f"provider = ANY(:providers) AND (NOT :is_accepted OR {_HAS_STATEMENT})"
"""The SQL condition for a line that takes part in a run. Its parameters are those of ``match.Comparison``.

``_HAS_STATEMENT`` is the condition for a line that is compared with a statement, or may still be on a statement.
"""

_UNCOMPARED = text(f"""
    -- uncompared: by provider, without corrections, which are ours only, and without cash, which is counted
    SELECT provider, count(*) AS count, sum(amount)::bigint AS amount, sum(fee)::bigint AS fees,
           provider = ANY(:silent) AS is_policy
    FROM settlement_lines
    WHERE settlement_id = :id AND kind <> 'adjustment' AND provider <> ALL (CAST(:counted AS text[]))
      AND NOT (provider = ANY(:providers) AND {_HAS_STATEMENT})
    GROUP BY provider ORDER BY provider
""")
_SILENT = text("""
    -- silent: providers that send no statements for this store; the newest row of a provider is in force
    SELECT provider FROM (SELECT DISTINCT ON (provider) provider, statements FROM statement_policies
                          WHERE store_id = :store_id ORDER BY provider, number DESC) newest
    WHERE statements = 'none' ORDER BY provider
""")
_WRITE = text("UPDATE settlements SET uncompared = CAST(:uncompared AS jsonb) WHERE id = :id")
_SUMS = ("count", "amount", "fees")


@dataclass(frozen=True, slots=True)
class UncomparedAcceptance:
    """A person's reason for signing a day off although some lines were not compared."""

    note: str


async def silent_providers(connection: AsyncConnection, store_id: str) -> list[str]:
    """Return the providers that by policy send no statements for a store."""
    return list((await connection.execute(_SILENT, {"store_id": store_id})).scalars())


async def find_uncompared(connection: AsyncConnection, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the lines that this run leaves uncompared, before any acceptance.

    The fields are those of ``UncomparedOut`` in the API.
    """
    counted = [name for name in PROVIDERS if name not in reporting_names()]
    found = await connection.execute(_UNCOMPARED, {**parameters, "counted": counted})
    providers = [dict(row) for row in found.mappings()]
    return {
        **{name: sum(lines[name] for lines in providers) for name in _SUMS},
        "providers": providers,
        "needs_acceptance": any(not lines["is_policy"] for lines in providers),
        "accepted_by": None,
        "accepted_at": None,
        "note": None,
    }


def is_accepted(settlement: SettlementRow, acceptance: UncomparedAcceptance | None) -> bool:
    """Return whether a person accepts now, or accepted earlier, that lines are not compared."""
    return acceptance is not None or bool((settlement["uncompared"] or {}).get("accepted_by"))


async def record_uncompared(
    connection: AsyncConnection,
    settlement: SettlementRow,
    uncompared: dict[str, Any],
    *,
    acceptance: UncomparedAcceptance | None,
    by: ChangeContext,
) -> dict[str, Any]:
    """Store ``uncompared`` in the settlement, and return it with its acceptance.

    The acceptance is ``acceptance``, given by ``by`` now, or an earlier one for the same lines.
    """
    before = settlement["uncompared"] or {}
    if uncompared["needs_acceptance"]:
        if acceptance:
            accepted = {"accepted_by": by.caller_id, "accepted_at": by.at, "note": acceptance.note}
            uncompared = {**uncompared, **accepted, "needs_acceptance": False}
        elif before.get("accepted_by") and _open(before) == _open(uncompared):
            earlier = {name: before[name] for name in ("accepted_by", "accepted_at", "note")}
            uncompared = {**uncompared, **earlier, "needs_acceptance": False}
    written = {"id": settlement["id"], "uncompared": orjson.dumps(uncompared).decode()}
    await connection.execute(_WRITE, written)
    return uncompared


def _open(uncompared: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return count, amount and fees of the lines that need acceptance, by provider."""
    return [
        (lines["provider"], *(lines[name] for name in _SUMS))
        for lines in uncompared["providers"]
        if not lines["is_policy"]
    ]
