"""Resolve: say how a break ends. Nothing of the closed settlement changes; what has to be booked goes into the running one.

| resolution  | means                                                                                  | needs            |
|-------------|----------------------------------------------------------------------------------------|------------------|
| ``link``    | it is the same as another break (both end) or as a payment or refund of ours            | ``reference``    |
| ``adjust``  | they are right: our books follow by an adjustment line of the running settlement        |                  |
| ``write_off``| we are right and let it go: booked in the same way                                     | ``note``         |
| ``ignore``  | it needs nothing, for the reason given                                                  | ``note``         |

The settlement's row is locked before the break's, so a run and a resolution never cross. With the last open break the
settlement is reconciled, if its cash is counted and nothing is expected any more.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, InvalidRequest, InvalidStatusTransition, NotAuthorized
from workflows.settlements.adjust import Adjustment, write_adjustment
from workflows.settlements.hand import Hand
from workflows.settlements.reconciliation.finish import finish_if_clean
from workflows.settlements.reconciliation.queries import one_break
from workflows.settlements.states import SettlementStatus
from workflows.tenants.caller import Caller

Resolution = Literal["link", "adjust", "write_off", "ignore"]
BOOKED = frozenset({"adjust", "write_off"})
NEEDS_NOTE = frozenset({"write_off", "ignore"})

_PAYMENT = text("SELECT payment_id FROM settlement_lines WHERE kind = :kind AND entity_id = :entity_id")
"""What the line of a payment or of a refund is about."""


@dataclass(frozen=True, slots=True)
class ResolutionRequest:
    """How a break ends, why, and what it refers to (for ``link``: a break, a payment or a refund)."""

    resolution: Resolution
    note: str | None = None
    reference: str | None = None


_LOCK = text("""
    -- lock: the settlement first, as runs do; is_last says whether its last run still saw this break
    SELECT s.id, s.status, clock_timestamp() AS at, b.run = (
               SELECT max(number) FROM reconciliation_runs r WHERE r.settlement_id = s.id) AS is_last
    FROM breaks b JOIN settlements s ON s.id = b.settlement_id WHERE b.id = :id FOR NO KEY UPDATE OF s
""")
_RESOLVE = text("""
    -- resolve: of two that are linked each refers to the other
    UPDATE breaks SET resolution = :resolution, note = :note, resolved_at = :at, resolved_by = :by,
        reference = CASE WHEN id = :reference THEN :id ELSE :reference END
    WHERE id = ANY(:ids) AND resolution IS NULL RETURNING id
""")
_COUNT = text("""
    -- count: those that just ended, of the number that the last run wrote; counting a million anew takes seconds
    UPDATE settlements SET open_breaks = open_breaks - :ended WHERE id = :id
""")
_OURS = text("""
    SELECT FROM payments WHERE id = :id AND store_id = :store_id
    UNION ALL SELECT FROM refunds WHERE id = :id AND store_id = :store_id
""")


async def resolve_break(break_id: str, request: ResolutionRequest, *, hand: Hand) -> dict[str, Any]:
    """The break's row, resolved. The same resolution again changes nothing.

    Raises ``ResourceNotFound``, ``InvalidRequest`` (something is missing, or does not fit), ``InvalidStatusTransition``
    (resolved otherwise, gone, or the settlement is reconciled), ``ServiceUnavailable``.
    """
    caller = hand.caller
    if caller is None:
        raise NotAuthorized(message="Breaks are resolved by people")
    async with hand.transaction() as connection:
        await one_break(connection, break_id, caller)  # the first wall, before anything is locked
        locked = (await connection.execute(_LOCK, {"id": break_id})).mappings().one()
        found = await one_break(connection, break_id, caller)
        if found["resolution"] is not None and found["resolution"] == request.resolution:
            return found
        _judge(found, dict(locked))
        _require(request)
        ids = [break_id]
        reference = request.reference
        if request.resolution == "link":
            ids += await _counterpart(connection, found, reference or "", caller)
        if request.resolution in BOOKED:
            reference = await _book(connection, found, occurred_at=locked["at"])
        written = {"note": request.note, "reference": reference, "at": locked["at"], "by": caller.id, "ids": ids}
        ended = (
            await connection.execute(_RESOLVE, {"id": break_id, "resolution": request.resolution, **written})
        ).all()
        await connection.execute(_COUNT, {"id": found["settlement_id"], "ended": len(ended)})
        await finish_if_clean(connection, found["settlement_id"], by=hand.by(locked["at"]))
        return await one_break(connection, break_id, caller)


def _judge(found: dict[str, Any], locked: dict[str, Any]) -> None:
    """Raise what speaks against resolving this break at all."""
    issue = None
    if found["resolution"] is not None:
        issue = f"The break was resolved already: {found['resolution']}"
    elif locked["status"] != SettlementStatus.CLOSED:
        issue = f"The settlement is {locked['status']}; breaks are resolved while it is closed"
    elif not locked["is_last"]:
        issue = "The settlement's last run did not see this break any more; there is nothing to resolve"
    if issue:
        raise InvalidStatusTransition(Detail("resolution", issue), message="This break cannot be resolved")


def _require(request: ResolutionRequest) -> None:
    if request.resolution in NEEDS_NOTE and not request.note:
        raise InvalidRequest(Detail("note", "Say why"))
    if request.resolution == "link" and not request.reference:
        raise InvalidRequest(Detail("reference", "Name the break, payment or refund that it is the same as"))


async def _counterpart(connection: AsyncConnection, found: dict[str, Any], reference: str, caller: Caller) -> list[str]:
    """The other break that a link ends, if it is to one; of both nothing may be left."""
    if not reference.startswith("brk_"):
        ours = {"id": reference, "store_id": found["store_id"]}
        if (await connection.execute(_OURS, ours)).first() is None:
            raise InvalidRequest(Detail("reference", "Must be a break, payment or refund of this store"))
        return []
    other = await one_break(connection, reference, caller)
    if other["id"] == found["id"] or (other["settlement_id"], other["run"]) != (found["settlement_id"], found["run"]):
        raise InvalidRequest(Detail("reference", "Must be another break of this settlement's last run"))
    if other["resolution"] is not None:
        raise InvalidRequest(Detail("reference", f"That break was resolved already: {other['resolution']}"))
    if other["difference"] + found["difference"] or other["fee_difference"] + found["fee_difference"]:
        raise InvalidRequest(Detail("reference", "The differences of the two breaks do not cancel out; adjust instead"))
    return [other["id"]]


async def _book(connection: AsyncConnection, found: dict[str, Any], *, occurred_at: Any) -> str:
    """Write the adjustment line that takes our books to theirs; returns its id."""
    # Ours minus theirs is what we have too much of; what the provider kept less than we thought, we have too little of.
    amount = found["fee_difference"] - found["difference"]
    if amount == 0:
        raise InvalidRequest(Detail("resolution", "There is no difference in money to book; ignore it with a reason"))
    adjustment = Adjustment(
        store_id=found["store_id"],
        currency=found["currency"],
        provider=found["provider"],
        amount=amount,
        occurred_at=occurred_at,
        payment_id=await _payment_of(connection, found),
        provider_reference=found["provider_reference"],
        our_reference=found["our_reference"],
    )
    return await write_adjustment(connection, adjustment)


async def _payment_of(connection: AsyncConnection, found: dict[str, Any]) -> str | None:
    line = {"kind": found["kind"], "entity_id": (found["our_line"] or {}).get("entity_id")}
    payment_id: str | None = (await connection.execute(_PAYMENT, line)).scalar()
    return payment_id
