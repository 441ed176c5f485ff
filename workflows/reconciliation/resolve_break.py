"""Resolve a break, or assign it to a person.

A resolution does not change the closed settlement; corrections are booked into the running one.

| resolution    | means                                                                            | needs         |
|---------------|----------------------------------------------------------------------------------|---------------|
| ``link``      | the break is the same as another break (both end), or as a payment or refund of ours | ``reference`` |
| ``adjust``    | the provider is right: an adjustment line of the running settlement corrects our books |         |
| ``write_off`` | we are right and waive the difference: booked in the same way                    | ``note``      |
| ``ignore``    | nothing is booked, for the reason given                                          | ``note``      |
| ``confirm``   | the provider's line is right about a payment or refund whose outcome is unknown  |               |

The other modules have the details: ``correction_rules`` says when a correction is refused, ``link_breaks`` which targets a
link may have, and ``confirm`` what a confirmation completes. The settlements' rows are locked before anything is decided, so a
run and a resolution never overlap, and everything is read under the lock. When the last open break ends, the settlement is
signed off if its cash is counted and no line is expected any more.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import use_bulk_settings
from workflows.errors import Detail, InvalidRequest, InvalidStatusTransition, NotAuthorized
from workflows.reconciliation.adjust import Adjustment, write_adjustment
from workflows.reconciliation.confirm import confirm_outcome
from workflows.reconciliation.correction_rules import require_correctable
from workflows.reconciliation.link_breaks import check_link, last_run
from workflows.reconciliation.models import ListedBreak
from workflows.reconciliation.queries import one_break
from workflows.reconciliation.sign_off import sign_off_if_clean
from workflows.reconciliation.vanished_lines import end_review
from workflows.settlements.lock import lock_settlements, read_locked
from workflows.settlements.models import LockedSettlement
from workflows.settlements.states import SettlementStatus
from workflows.tenants.actor import Actor
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import ChangeContext

Resolution = Literal["link", "adjust", "write_off", "ignore", "confirm"]
BOOKED = frozenset({"adjust", "write_off"})
NEEDS_NOTE = frozenset({"write_off", "ignore"})

_PAYMENT = text("SELECT payment_id FROM settlement_lines WHERE kind = :kind AND entity_id = :entity_id")
"""The payment that a settlement's line is about."""


@dataclass(frozen=True, slots=True)
class ResolutionRequest:
    """How a break is resolved and why. ``reference`` (for ``link``) is a break, a payment or a refund."""

    resolution: Resolution
    note: str | None = None
    reference: str | None = None


_RESOLVE = text("""
    -- resolve: two breaks that are linked refer to each other
    UPDATE breaks SET resolution = :resolution, note = :note, resolved_at = :at, resolved_by = :by,
        reference = CASE WHEN id = :reference THEN :id ELSE :reference END, other_reference = :other_reference
    WHERE id = ANY(:ids) AND resolution IS NULL RETURNING settlement_id
""")
_ASSIGN = text("UPDATE breaks SET owner = :owner WHERE id = :id")
_COUNT = text("""
    -- count: subtract the breaks that just ended; counting a million of them again takes seconds
    UPDATE settlements SET open_breaks = open_breaks - :ended WHERE id = :id
""")


async def resolve_break(break_id: str, request: ResolutionRequest, *, actor: Actor) -> ListedBreak:
    """Resolve a break and return its row. Repeating a resolution changes nothing.

    Raises ``ResourceNotFound``, ``InvalidRequest`` (a field is missing or not valid), ``InvalidStatusTransition`` (resolved
    differently, no longer found, reconciled, or forbidden by the payment that its line quotes), ``NotAuthorized`` (a worker)
    and ``ServiceUnavailable``.
    """
    caller = actor.caller
    if caller is None:
        raise NotAuthorized(message="Only a person can resolve a break")
    async with actor.transaction() as connection:
        await use_bulk_settings(connection)
        settlement_ids = await _settlements(connection, break_id, request, actor=actor)
        await lock_settlements(connection, settlement_ids)
        found = await one_break(connection, break_id, caller)
        settlement = await read_locked(connection, found["settlement_id"])
        if found["resolution"] is not None and found["resolution"] == request.resolution:
            return found
        _check_resolvable(found, settlement, is_last=found["run"] == await last_run(connection, settlement["id"]))
        _check_request(request)
        written = await _decide(connection, found, settlement, request, actor=actor)
        ended = (await connection.execute(_RESOLVE, {"id": break_id, **written})).scalars().all()
        for settlement_id in sorted(set(ended)):
            await connection.execute(_COUNT, {"id": settlement_id, "ended": ended.count(settlement_id)})
            await sign_off_if_clean(connection, settlement_id, by=ChangeContext.actor(actor, at=settlement["now"]))
        entity_id = found["our_line"]["entity_id"] if found["our_line"] else None
        await end_review(connection, entity_id, by=ChangeContext.actor(actor, at=settlement["now"], reason=break_id))
        return await one_break(connection, break_id, caller)


async def _settlements(
    connection: AsyncConnection, break_id: str, request: ResolutionRequest, *, actor: Actor
) -> list[str]:
    """Return the ids of the settlements to lock: that of the break, and that of a linked break.

    They can be read before the lock, because a break's settlement never changes. Raises ``ResourceNotFound``.
    """
    assert actor.caller  # noqa: S101 - resolve_break refuses a worker
    breaks = [break_id]
    if request.resolution == "link" and request.reference and request.reference.startswith("brk_"):
        breaks.append(request.reference)
    return [(await one_break(connection, id_, actor.caller))["settlement_id"] for id_ in breaks]


async def _decide(
    connection: AsyncConnection,
    found: ListedBreak,
    settlement: LockedSettlement,
    request: ResolutionRequest,
    *,
    actor: Actor,
) -> dict[str, Any]:
    """Carry out the resolution and return the columns of the break to write."""
    ids, reference, other_reference = [found["id"]], request.reference, None
    if request.resolution == "link" and actor.caller:
        ids += await check_link(
            connection, found, settlement, reference=reference or "", note=request.note, caller=actor.caller
        )
    if request.resolution == "confirm":
        reference = await confirm_outcome(connection, found, settlement, actor=actor)
    if request.resolution in BOOKED:
        payment_id = await require_correctable(connection, found, settlement)
        payment_id = await _payment_of(connection, found) or payment_id
        reference, other_reference = await _book_correction(
            connection, found, payment_id, occurred_at=settlement["now"]
        )
    by = {"resolution": request.resolution, "note": request.note, "at": settlement["now"], "by": actor.id}
    return {**by, "ids": ids, "reference": reference, "other_reference": other_reference}


def _check_resolvable(found: ListedBreak, settlement: LockedSettlement, *, is_last: bool) -> None:
    """Raise ``InvalidStatusTransition`` if the break is resolved or gone, or its settlement is not closed."""
    issue = None
    if found["resolution"] is not None:
        issue = f"The break is already resolved: {found['resolution']}"
    elif settlement["status"] != SettlementStatus.CLOSED:
        issue = f"The settlement is {settlement['status']}; its breaks can only be resolved while it is closed"
    elif not is_last:
        issue = "The settlement's last run no longer found this break; there is nothing to resolve"
    if issue:
        raise InvalidStatusTransition(Detail("resolution", issue), message="This break cannot be resolved")


def _check_request(request: ResolutionRequest) -> None:
    if request.resolution in NEEDS_NOTE and not request.note:
        raise InvalidRequest(Detail("note", "Explain why"))
    if request.resolution == "link" and not request.reference:
        raise InvalidRequest(
            Detail("reference", "Give the id of the break, payment or refund that this break is the same as")
        )


async def _book_correction(
    connection: AsyncConnection, found: ListedBreak, payment_id: str | None, *, occurred_at: datetime
) -> tuple[str | None, str | None]:
    """Write the adjustment lines that correct our books, and return their ids.

    A provider's line in another currency has two sides: the excess in our currency, and the missing amount in theirs. The
    running settlements are locked in the order of their currencies, so that two resolutions cannot deadlock.
    """
    sides = ((found["currency"], amount_to_book(found)), foreign_amount_to_book(found))
    written: list[str | None] = [None, None]
    for index, (currency, amount) in sorted(enumerate(sides), key=lambda side: side[1][0]):
        if amount:
            booked = Adjustment(
                store_id=found["store_id"],
                currency=currency,
                provider=found["provider"],
                amount=amount,
                occurred_at=occurred_at,
                payment_id=payment_id,
                provider_reference=found["provider_reference"],
                our_reference=found["our_reference"],
            )
            written[index] = await write_adjustment(connection, booked)
    if not any(written):
        raise InvalidRequest(Detail("resolution", "There is no difference in money to book; use ignore with a note"))
    return written[0], written[1]


def amount_to_book(found: ListedBreak) -> int:
    """Return the amount to add to our books, in the settlement's currency.

    ``difference`` (ours − theirs) is money that our books have in excess, so it is subtracted. ``fee_difference`` is a fee
    that we recorded too high, so it is added.
    """
    return found["fee_difference"] - found["difference"]


def foreign_amount_to_book(found: ListedBreak) -> tuple[str, int]:
    """Return the amount to add to our books in the currency of the provider's line, and that currency.

    The amount is 0 if that is the settlement's currency.
    """
    theirs = found["their_line"]
    if not theirs or not theirs["moved"] or theirs["currency"] == found["currency"]:
        return found["currency"], 0
    return theirs["currency"], theirs["amount"] - (theirs["fee"] or 0)


async def _payment_of(connection: AsyncConnection, found: ListedBreak) -> str | None:
    line = {"kind": found["kind"], "entity_id": found["our_line"]["entity_id"] if found["our_line"] else None}
    payment_id: str | None = (await connection.execute(_PAYMENT, line)).scalar()
    return payment_id


async def assign_break(break_id: str, owner: str, *, caller: Caller) -> ListedBreak:
    """Set the owner of a break and return its row. Raises ``ResourceNotFound``, ``ServiceUnavailable``."""
    async with caller_transaction(caller) as connection:
        await one_break(connection, break_id, caller)
        await connection.execute(_ASSIGN, {"id": break_id, "owner": owner})
        return await one_break(connection, break_id, caller)
