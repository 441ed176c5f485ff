"""Confirm an uploaded statement's line about a payment or refund whose outcome is unknown.

| the line                                                       | then                                                   |
|----------------------------------------------------------------|--------------------------------------------------------|
| agrees with the last attempt of an open payment or refund      | completed, as if the provider had answered an inquiry  |
| disagrees with it (amount, fee, currency, time, reference)     | 409 names what disagrees                               |
| is about a payment or refund that is final                     | 409: link to it                                        |
| shows that nothing was charged (a charge and its reversal)     | 409: an uploaded file does not prove that              |
| is about a row that a worker is inquiring about at that moment | 409: try again in a moment                             |

The calling transaction has locked the settlement.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.lock import lock_all_bills
from workflows.database.engines import Role, switch_role
from workflows.reconciliation.apply_evidence import Evidence, apply_evidence, moved_lines
from workflows.reconciliation.correction_rules import resolution_error
from workflows.reconciliation.find_in_our_books import OPEN
from workflows.reconciliation.models import BreakRow, TheirLine
from workflows.settlements.models import SettlementRow
from workflows.tenants.actor import Actor

_ENTITY = {
    "payment": text("""
        SELECT p.id, p.id AS payment_id, p.bill_id, p.provider, p.status FROM payment_attempts a
        JOIN payments p ON p.id = a.payment_id WHERE a.payment_id = split_part(:reference, ':', 1)
          AND a.reference = :reference AND p.store_id = :store_id
    """),
    "refund": text("""
        SELECT r.id, r.payment_id, p.bill_id, r.provider, r.status FROM refund_attempts a
        JOIN refunds r ON r.id = a.refund_id JOIN payments p ON p.id = r.payment_id
        WHERE a.refund_id = split_part(:reference, ':', 1) AND a.reference = :reference AND r.store_id = :store_id
    """),
}
_STATEMENT = text("""
    SELECT id AS statement_id, provider, created_at AS stored_at, source = 'api' AS is_fetched FROM statements
    WHERE settlement_id = :id AND provider = :provider ORDER BY number DESC LIMIT 1
""")


async def confirm_outcome(
    connection: AsyncConnection, found: BreakRow, settlement: SettlementRow, *, actor: Actor
) -> str:
    """Complete the payment or refund that the break's line is about, and return its id.

    Raises ``InvalidStatusTransition`` (409) as in the table above.
    """
    line = found["their_line"]
    if found["our_line"] or not line or not line["moved"] or line["kind"] not in _ENTITY or not line["our_reference"]:
        raise resolution_error("The line is not about a payment or refund whose outcome is unknown")
    await switch_role(connection, Role.WORKER)
    evidence = await _evidence(connection, found, line, settlement, reference=line["our_reference"])
    entity = line["kind"]
    done = await apply_evidence(
        connection, entity, [evidence], locking=lock_all_bills, by=f"api for {actor.id}", is_confirmed=True
    )
    await switch_role(connection, Role.CALLER)
    if not done:
        raise resolution_error(
            f"A request about {evidence.id} is being sent to the provider right now; try again in a moment"
        )
    if done[0].issue or done[0].status is None:
        raise resolution_error(f"{done[0].issue or 'The line has no new information'}; {evidence.id} is unchanged")
    return evidence.id


async def _evidence(
    connection: AsyncConnection, found: BreakRow, line: TheirLine, settlement: SettlementRow, *, reference: str
) -> Evidence:
    wanted = {"reference": reference, "store_id": settlement["store_id"]}
    entity = (await connection.execute(_ENTITY[line["kind"]], wanted)).mappings().one_or_none()
    if entity is None or entity["provider"] != found["provider"]:
        raise resolution_error(f"{reference} is not an attempt of this store at {found['provider']}")
    if entity["status"] not in OPEN:
        raise resolution_error(f"{entity['id']} is {entity['status']}; link to it if it moved money")
    wanted = {"id": settlement["id"], "provider": found["provider"]}
    statement = (await connection.execute(_STATEMENT, wanted)).mappings().one()
    if statement["statement_id"] != line["statement_id"]:
        raise resolution_error("A newer statement has not been compared yet; reconcile again")
    lines = await moved_lines(connection, [statement["statement_id"]], [reference])
    of_entity = {name: entity[name] for name in ("id", "payment_id", "bill_id")}
    return Evidence(
        **of_entity,
        **statement,
        reference=reference,
        settlement=settlement,
        lines=lines[statement["statement_id"], reference],
    )
