"""List the lines that a run could not compare: those of providers without a statement.

| lines of                                        | are                                                              |
|-------------------------------------------------|------------------------------------------------------------------|
| cash                                            | compared with the cash count                                     |
| a provider with a statement                     | compared with it                                                 |
| a remote provider that may still report         | ``expected``                                                     |
| a provider without statements, by policy        | not compared, listed; the sign-off does not wait for it          |
| a remote provider that has not reported in time | not compared, listed; ``missing_at_provider`` until accepted     |
| any other                                       | not compared, listed; signed off only if a person accepts it     |

The column ``uncompared`` of a settlement is what its last run could not compare. An acceptance holds for later runs as long as
they leave the same lines uncompared.
"""

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.providers.registry import PROVIDERS, reporting_names
from workflows.settlements.rows import SettlementRow
from workflows.transitions import ChangeContext

_HAS_STATEMENT = """(provider = ANY(:stated) OR occurred_at + make_interval(secs => 3600 *
        coalesce(CAST(CAST(:sla_hours AS jsonb) ->> provider AS double precision), 0)) > now())"""
IS_COMPARED = f"provider = ANY(:providers) AND (NOT :is_accepted OR {_HAS_STATEMENT})"
"""Whether a line takes part in a run; with the parameters of ``match.Comparison``. ``_HAS_STATEMENT`` is whether it is
compared with a statement, or may still be on one."""

_UNCOMPARED = text(f"""
    -- uncompared: by provider; corrections are ours alone, and cash is counted
    SELECT provider, count(*) AS count, sum(amount)::bigint AS amount, sum(fee)::bigint AS fees,
           provider = ANY(:silent) AS is_policy
    FROM settlement_lines
    WHERE settlement_id = :id AND kind <> 'adjustment' AND provider <> ALL (CAST(:counted AS text[]))
      AND NOT (provider = ANY(:providers) AND {_HAS_STATEMENT})
    GROUP BY provider ORDER BY provider
""")
_SILENT = text("""
    -- silent: providers that send this store no statements; the newest row of a provider is in force
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
    """Return the providers that send a store no statements, by its policy."""
    return list((await connection.execute(_SILENT, {"store_id": store_id})).scalars())


async def find_uncompared(connection: AsyncConnection, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the lines that this run leaves uncompared, before any acceptance.

    The fields are those of ``UncomparedOut`` in the API.
    """
    counted = [name for name in PROVIDERS if name not in reporting_names()]
    found = await connection.execute(_UNCOMPARED, {**parameters, "counted": counted})
    providers = [dict(row) for row in found.mappings()]
    return {
        **{name: sum(one[name] for one in providers) for name in _SUMS},
        "providers": providers,
        "needs_acceptance": any(not one["is_policy"] for one in providers),
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
    """Store ``uncompared`` in the settlement with its acceptance, by ``by`` or earlier, and return it."""
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
    """Return the lines that needed acceptance."""
    return [
        (one["provider"], *(one[name] for name in _SUMS)) for one in uncompared["providers"] if not one["is_policy"]
    ]
