"""Create operations and change their status: at once, later, or never, as their fate says.

Only this module changes a status. The change and its movement of money are in one commit, and a webhook follows.
"""

import asyncio

from sandbox import ledger, operations
from sandbox.context import SandboxContext
from sandbox.faults import APPROVE, Fate, parse_fate
from sandbox.fees import charge_fee, refund_fee
from sandbox.ledger import MovementKind
from sandbox.operations import Family, Operation, Status
from sandbox.timestamps import MICROSECONDS_PER_MILLISECOND, MICROSECONDS_PER_SECOND

MOVES = {Family.CHARGE: MovementKind.CHARGE, Family.REFUND: MovementKind.REFUND}
FEES = {Family.CHARGE: charge_fee, Family.REFUND: refund_fee}


def create(context: SandboxContext, operation: Operation, *, fate: Fate) -> Operation:
    """Store a new operation with its outcome, or as pending if its fate says so."""
    at = operation.created_at
    if fate.pending_ms:
        due_at = at + fate.pending_ms * MICROSECONDS_PER_MILLISECOND
        operation = operation._replace(status=Status.PENDING, due_at=due_at)
    elif operation.decline_code:
        operation = operation._replace(status=Status.DECLINED)
    else:
        operation = _move_money(context, operation, at=at)
    return _insert(context, operation)


def create_declined(context: SandboxContext, operation: Operation, *, decline_code: str) -> Operation:
    """Store an operation that is declined at once."""
    return _insert(context, operation._replace(status=Status.DECLINED, decline_code=decline_code))


def create_cancelled(context: SandboxContext, operation: Operation) -> Operation:
    """Store the cancel of a charge that was never requested. No webhook is sent."""
    operations.insert(context.storage, operation)
    return operation


def create_waiting(context: SandboxContext, operation: Operation) -> Operation:
    """Store a code that waits for its customer until ``due_at``."""
    return _insert(context, operation)


def pay(context: SandboxContext, operation: Operation) -> Operation:
    """Act as the customer who pays a waiting code. The operation's fate decides the outcome."""
    fate = stored_fate(operation)
    at = context.clock.now()
    operation = operation._replace(amount=fate.captured(operation.amount), decline_code=fate.decline_code)
    if fate.pending_ms:
        due_at = at + fate.pending_ms * MICROSECONDS_PER_MILLISECOND
        return _update(context, operation._replace(status=Status.PENDING, due_at=due_at))
    return _finish(context, operation, at=at)


def apply_if_due(context: SandboxContext, operation: Operation) -> Operation:
    """Give an operation its outcome if it is due, and return it.

    A waiting code expires; a pending operation is decided.
    """
    at = context.clock.now()
    if operation.due_at is None or operation.due_at > at:
        return operation
    if operation.status == Status.WAITING:
        return _update(context, operation._replace(status=Status.EXPIRED, due_at=None))
    return _finish(context, operation, at=at)


def cancel(context: SandboxContext, operation: Operation) -> Operation:
    """Cancel an operation that has moved no money, so that it never will."""
    return _update(context, operation._replace(status=Status.CANCELLED, fee=0, due_at=None))


def reverse(context: SandboxContext, operation: Operation) -> Operation:
    """Reverse all charges under the operation's reference.

    With ``ignore_idempotency`` there may be several charges.
    """
    at = context.clock.now()
    for movement in ledger.of_payment(context.storage, operation.payment_id):
        if movement.kind == MovementKind.CHARGE and movement.reference == operation.reference:
            undone = movement._replace(kind=MovementKind.REVERSAL, fee=-movement.fee, at=at)
            ledger.record(context.storage, undone[1:])
    return _update(context, operation._replace(status=Status.REVERSED, fee=0))


def charge_again(context: SandboxContext, operation: Operation) -> Operation:
    """Charge a reference once more, as a provider without idempotency would."""
    copies = len(ledger.of_payment(context.storage, operation.payment_id))
    name = operations.provider_reference(operation.reference, family=Family(operation.family), copy=copies)
    again = _move_money(context, operation._replace(provider_reference=name), at=context.clock.now())
    context.webhooks.announce(again)
    return again


def resume(context: SandboxContext) -> None:
    """Schedule all operations that have a due time. Call this after a start and after the clock was moved."""
    for due in operations.all_due(context.storage):
        _schedule(context, due.reference, family=due.family, at=due.at)


def stored_fate(operation: Operation) -> Fate:
    """Return the fate with which an operation was created."""
    return parse_fate(operation.fate) if operation.fate else APPROVE


def _finish(context: SandboxContext, operation: Operation, *, at: int) -> Operation:
    if operation.decline_code:
        return _update(context, operation._replace(status=Status.DECLINED, due_at=None))
    return _update(context, _move_money(context, operation._replace(due_at=None), at=at))


def _move_money(context: SandboxContext, operation: Operation, *, at: int) -> Operation:
    family = Family(operation.family)
    fee = FEES[family](operation.amount)
    moved = (operation.provider_reference, operation.amount, operation.currency, fee, at, operation.account)
    ledger.record(context.storage, (MOVES[family], operation.reference, operation.payment_id, *moved))
    return operation._replace(status=Status.SUCCEEDED, fee=fee)


def _insert(context: SandboxContext, operation: Operation) -> Operation:
    operations.insert(context.storage, operation)
    _schedule_or_notify(context, operation)
    return operation


def _update(context: SandboxContext, operation: Operation) -> Operation:
    operations.update(context.storage, operation)
    _schedule_or_notify(context, operation)
    return operation


def _schedule_or_notify(context: SandboxContext, operation: Operation) -> None:
    if operation.due_at is None:
        context.webhooks.announce(operation)
    else:
        _schedule(context, operation.reference, family=Family(operation.family), at=operation.due_at)


def _schedule(context: SandboxContext, reference: str, *, family: Family, at: int) -> None:
    def wake() -> None:
        operation = operations.find(context.storage, reference, family=family)
        if operation is None or operation.due_at is None:
            return  # it was cancelled, or the ledger was emptied meanwhile
        if apply_if_due(context, operation).due_at is not None:
            # The event loop's clock differs slightly from the sandbox's, or the machine's was set back: wait again.
            _schedule(context, reference, family=family, at=operation.due_at)

    wait_seconds = max(0.001, (at - context.clock.now()) / MICROSECONDS_PER_SECOND)
    asyncio.get_running_loop().call_later(wait_seconds, wake)
