"""Link breaks: check the target that a person names, and link automatically what the evidence of a statement explains.

A link's target must exist, have moved money and explain this break and no other (``check_link``):

| the target is                                                    | then                                                    |
|------------------------------------------------------------------|---------------------------------------------------------|
| the break itself, or the payment of its own line                 | 422                                                     |
| an open break of this settlement's last run                      | both breaks end                                         |
| an open break of another settlement's last run                   | both breaks end, each in its settlement                 |
| a break that is already linked to this break's payment or refund | only this break ends: it is the same difference         |
| a payment or refund that is not final                            | 409: wait                                               |
| a payment or refund that failed or was cancelled                 | 422: it explains no money                               |
| a payment or refund to which another break is linked             | 422: it explains one difference only                    |
| a payment or refund of this settlement                           | 422 if it has an open break (link to that); else a note |

A difference in store, provider, currency or sum needs a ``note`` that explains it. A line that quotes a completed payment of
ours can only be linked to that payment.

Every run also links the two breaks that arise when a line of a statement ended a doubt (``link_evidence``):

| the break                                                                         | is linked to                            |
|-----------------------------------------------------------------------------------|-----------------------------------------|
| 1. the statement's line, which no line of ours in its settlement matches          | the payment or refund that was in doubt |
| 2. our line of that payment or refund, which its own settlement's statement lacks | break 1                                 |

Amounts and fees have to agree exactly. ``resolved_by`` is the statement. If a later statement no longer has the line, the next
run does not find break 1 and reopens break 2 (``adjust.rebook``).
"""

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, InvalidRequest
from workflows.reconciliation.correction_rules import find_quoted_elsewhere, refuse_open, resolution_error
from workflows.reconciliation.find_archived import ARCHIVED
from workflows.reconciliation.find_in_our_books import MOVED, OPEN
from workflows.reconciliation.models import BreakRow
from workflows.reconciliation.queries import one_break
from workflows.settlements.models import SettlementRow
from workflows.tenants.caller import Caller
from workflows.tenants.scope import IN_SCOPE, scope_params

_TARGET = text(f"""
    SELECT 'payment' AS kind, id, store_id, provider, currency, status, settlement_id, amount + tip_amount AS amount, fee
    FROM payments WHERE id = :id AND {IN_SCOPE}
    UNION ALL
    SELECT 'refund', id, store_id, provider, currency, status, settlement_id, -amount, fee
    FROM refunds WHERE id = :id AND {IN_SCOPE}
    UNION ALL
    SELECT 'payment', entity_id, store_id, provider, currency, 'completed', settlement_id, amount, fee
    FROM settlement_lines l WHERE kind = 'payment' AND entity_id = :id AND {IN_SCOPE} AND {ARCHIVED.format(line="l")}
""")
_ONE_LINK = text("SELECT pg_advisory_xact_lock(hashtextextended('link to ' || CAST(:id AS text), 0))")
_LINKED = text("""
    -- linked: another break that is linked to it and that its settlement's last run found
    SELECT b.id FROM breaks b WHERE b.reference = :id AND b.resolution IN ('link', 'confirm') AND b.id <> :break_id
      AND b.run = (SELECT max(number) FROM reconciliation_runs r WHERE r.settlement_id = b.settlement_id) LIMIT 1
""")
_OPEN_HERE = text("""
    SELECT id FROM breaks
    WHERE settlement_id = :settlement_id AND run = :run AND entity_id = :id AND resolution IS NULL LIMIT 1
""")
_LAST_RUN = text("SELECT coalesce(max(number), 0) FROM reconciliation_runs WHERE settlement_id = :id")


async def last_run(connection: AsyncConnection, settlement_id: str) -> int:
    """Return the number of the settlement's last run, or 0 if there was none."""
    number: int = (await connection.execute(_LAST_RUN, {"id": settlement_id})).scalar_one()
    return number


async def check_link(
    connection: AsyncConnection,
    found: BreakRow,
    settlement: SettlementRow,
    *,
    reference: str,
    note: str | None,
    caller: Caller,
) -> list[str]:
    """Check a link of the break ``found`` to ``reference``, and raise the errors of the table above.

    Return the ids of the other breaks that the link resolves too: one or none.
    """
    is_alone = found["our_line"] is None
    quoted = await find_quoted_elsewhere(connection, found, settlement) if is_alone else []
    refuse_open(quoted)
    only = {entity.id for entity in quoted if entity.is_in_books}
    if reference.startswith("brk_"):
        other = await one_break(connection, reference, caller)
        _require_named(only, other["entity_id"])
        return await _check_break(connection, found, other, note=note)
    _require_named(only, reference)
    await connection.execute(_ONE_LINK, {"id": reference})
    target = (await connection.execute(_TARGET, {"id": reference, **scope_params(caller)})).mappings().one_or_none()
    if target is None:
        raise InvalidRequest(Detail("reference", "Must be the id of a break, payment or refund that you may see"))
    await _check_target(connection, found, dict(target), note=note)
    return []


def _require_named(only: set[str], entity_id: str | None) -> None:
    """Raise if the line quotes entities of ours (``only``), but not the link's target ``entity_id``."""
    if only and entity_id not in only:
        raise InvalidRequest(Detail("reference", f"The line quotes {', '.join(sorted(only))}; link to that"))


async def _check_break(connection: AsyncConnection, found: BreakRow, other: BreakRow, *, note: str | None) -> list[str]:
    """Raise if ``found`` cannot be linked to the break ``other``.

    Return ``other``'s id if it ends too, else nothing.
    """
    if other["id"] == found["id"]:
        raise InvalidRequest(Detail("reference", "Must be another break"))
    if other["run"] != await last_run(connection, other["settlement_id"]):
        raise InvalidRequest(Detail("reference", "Must be a break of its settlement's last run"))
    own_entity = found["entity_id"]
    is_named = other["resolution"] in ("link", "confirm")
    is_other_end = is_named and own_entity is not None and other["reference"] == own_entity
    if other["resolution"] is not None and not is_other_end:
        raise InvalidRequest(Detail("reference", f"That break is already resolved: {other['resolution']}"))
    differing = [name for name in ("store_id", "provider", "currency") if other[name] != found[name]]
    if other["difference"] + found["difference"] or other["fee_difference"] + found["fee_difference"]:
        differing.append("sum")
    _require_note(differing, note)
    return [] if is_other_end else [other["id"]]


async def _check_target(
    connection: AsyncConnection, found: BreakRow, target: dict[str, Any], *, note: str | None
) -> None:
    """Raise if ``found`` cannot be linked to the payment or refund ``target``."""
    if target["id"] == found["entity_id"]:
        raise InvalidRequest(Detail("reference", f"Must not be the {target['kind']} of this break itself"))
    if target["status"] in OPEN:
        raise resolution_error(f"{target['id']} is {target['status']}; wait until it is final")
    if target["status"] not in MOVED:
        raise InvalidRequest(
            Detail("reference", f"{target['id']} is {target['status']} and moved no money; link to one that did")
        )
    link = {"id": target["id"], "break_id": found["id"]}
    linked = (await connection.execute(_LINKED, link)).scalar_one_or_none()
    if linked:
        raise InvalidRequest(Detail("reference", f"{target['id']} already explains another break: {linked}"))
    differing = [name for name in ("store_id", "provider") if target[name] != found[name]]
    currency, amount = _sum_of(found)
    differing += ["currency"] if target["currency"] != currency else []
    differing += ["sum"] if amount + target["amount"] else []
    if target["settlement_id"] == found["settlement_id"]:
        here = {"settlement_id": found["settlement_id"], "run": found["run"], "id": target["id"]}
        broken = (await connection.execute(_OPEN_HERE, here)).scalar_one_or_none()
        if broken:
            raise InvalidRequest(Detail("reference", f"{target['id']} has a break of its own; link to {broken}"))
        differing.append("line of the statement, with which it was compared")
    _require_note(differing, note)


def _sum_of(found: BreakRow) -> tuple[str, int]:
    """Return currency and amount of a break (ours − theirs).

    Without a line of ours, the amount of their line decides.
    """
    theirs = found["their_line"]
    if found["our_line"] is None and theirs:
        return theirs["currency"], -theirs["amount"] if theirs["moved"] else 0
    return found["currency"], found["difference"]


def _require_note(differing: list[str], note: str | None) -> None:
    if differing and not note:
        names = ", ".join(name.removesuffix("_id") for name in differing)
        raise InvalidRequest(Detail("note", f"Explain why they are the same although they differ in: {names}"))


_THEIRS = text("""
    -- link theirs: compare the whole line except its number in the file; a second equal line is another break
    UPDATE breaks b SET resolution = 'link', reference = e.entity_id, resolved_at = :at, resolved_by = e.statement_id
    FROM statement_evidence e
    WHERE b.settlement_id = :id AND b.run = :run AND b.resolution IS NULL AND b.our_line IS NULL
      AND b.category IN ('date_mismatch', 'status_mismatch')
      AND e.entity_id = split_part(b.our_reference, ':', 1) AND e.our_reference = b.our_reference
      AND e.provider = b.provider AND e.store_id = b.store_id AND e.status <> 'processing'
      AND EXISTS (SELECT FROM jsonb_array_elements(e.lines) l
                  WHERE l - 'line_number' = jsonb_build_object(
                      'kind', b.kind, 'amount', b.their_line -> 'amount', 'fee', b.their_line -> 'fee',
                      'currency', b.their_line -> 'currency', 'provider_reference', b.their_line -> 'provider_reference',
                      'occurred_at', b.their_line -> 'occurred_at', 'occurred_on', b.their_line -> 'occurred_on'))
""")
_OURS = text("""
    -- link ours: to the break of the settlement whose current statement lists the line
    UPDATE breaks b SET resolution = 'link', reference = o.id, resolved_at = :at, resolved_by = e.statement_id
    FROM statement_evidence e JOIN breaks o ON o.settlement_id = e.settlement_id
    WHERE b.settlement_id = :id AND b.run = :run AND b.resolution IS NULL AND b.their_line IS NULL
      AND b.category = 'missing_at_provider' AND e.entity_id = b.entity_id AND e.status = 'completed'
      AND o.our_line IS NULL AND o.our_reference = e.our_reference AND o.reference = e.entity_id
      AND o.resolution IN ('link', 'confirm') AND o.settlement_id <> b.settlement_id
      AND o.difference = -b.difference AND o.fee_difference = -b.fee_difference
      AND o.run = (SELECT max(number) FROM reconciliation_runs r WHERE r.settlement_id = o.settlement_id)
""")


async def link_evidence(connection: AsyncConnection, settlement: SettlementRow, *, run: int, at: datetime) -> int:
    """Link the breaks of ``run`` that evidence explains, and return how many breaks ended."""
    parameters = {"id": settlement["id"], "run": run, "at": at}
    return sum([(await connection.execute(statement, parameters)).rowcount for statement in (_THEIRS, _OURS)])
