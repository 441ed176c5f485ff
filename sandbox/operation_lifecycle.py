"""Give operations their outcome: at once, later, or never.

Every change of an operation's status is made here, in one commit with its movement of money, and announced afterwards.
"""

import asyncio

from sandbox import ledger, operations
from sandbox.context import Provider
from sandbox.faults import APPROVE, Fate, parse_fate
from sandbox.fees import charge_fee, refund_fee
from sandbox.ledger import MovementKind
from sandbox.operations import Family, Operation, Status
from sandbox.timestamps import MICROSECONDS_PER_MILLISECOND, MICROSECONDS_PER_SECOND

MOVES = {Family.CHARGE: MovementKind.CHARGE, Family.REFUND: MovementKind.REFUND}
FEES = {Family.CHARGE: charge_fee, Family.REFUND: refund_fee}


def create(provider: Provider, operation: Operation, *, fate: Fate) -> Operation:
    """Store a new operation, with its outcome unless its fate is to wait."""
    at = operation.created_at
    if fate.pending_ms:
        due_at = at + fate.pending_ms * MICROSECONDS_PER_MILLISECOND
        operation = operation._replace(status=Status.PENDING, due_at=due_at)
    elif operation.decline_code:
        operation = operation._replace(status=Status.DECLINED)
    else:
        operation = _succeeded(provider, operation, at=at)
    return _enter(provider, operation)


def create_declined(provider: Provider, operation: Operation, *, decline_code: str) -> Operation:
    """Store an operation that is declined at once."""
    return _enter(provider, operation._replace(status=Status.DECLINED, decline_code=decline_code))


def create_cancelled(provider: Provider, operation: Operation) -> Operation:
    """Store an operation that is cancelled before it was requested. Nothing is announced."""
    operations.insert(provider.store, operation)
    return operation


def create_waiting(provider: Provider, operation: Operation) -> Operation:
    """Store a code that waits for its customer until ``due_at``."""
    return _enter(provider, operation)


def pay(provider: Provider, operation: Operation) -> Operation:
    """Pay a waiting code as its customer. Its fate decides the outcome."""
    fate = stored_fate(operation)
    at = provider.clock.now()
    operation = operation._replace(amount=fate.captured(operation.amount), decline_code=fate.decline_code)
    if fate.pending_ms:
        due_at = at + fate.pending_ms * MICROSECONDS_PER_MILLISECOND
        return _change(provider, operation._replace(status=Status.PENDING, due_at=due_at))
    return _conclude(provider, operation, at=at)


def mature(provider: Provider, operation: Operation) -> Operation:
    """Give an operation that is due its outcome; return any other unchanged."""
    at = provider.clock.now()
    if operation.due_at is None or operation.due_at > at:
        return operation
    if operation.status == Status.WAITING:
        return _change(provider, operation._replace(status=Status.EXPIRED, due_at=None))
    return _conclude(provider, operation, at=at)


def cancel(provider: Provider, operation: Operation) -> Operation:
    """Make sure that an operation which moved nothing never will."""
    return _change(provider, operation._replace(status=Status.CANCELLED, fee=0, due_at=None))


def reverse(provider: Provider, operation: Operation) -> Operation:
    """Reverse everything that was charged under a reference, even twice by ``ignore_idempotency``."""
    at = provider.clock.now()
    for movement in ledger.of_payment(provider.store, operation.payment_id):
        if movement.kind == MovementKind.CHARGE and movement.reference == operation.reference:
            undone = movement._replace(kind=MovementKind.REVERSAL, fee=-movement.fee, at=at)
            ledger.record(provider.store, undone[1:])
    return _change(provider, operation._replace(status=Status.REVERSED, fee=0))


def charge_again(provider: Provider, operation: Operation) -> Operation:
    """Move the money of a reference once more, as a provider without idempotency would."""
    copies = len(ledger.of_payment(provider.store, operation.payment_id))
    name = operations.provider_reference(operation.reference, family=Family(operation.family), copy=copies)
    again = _succeeded(provider, operation._replace(provider_reference=name), at=provider.clock.now())
    provider.webhooks.announce(again)
    return again


def resume(provider: Provider) -> None:
    """Schedule everything that waits for a time, after a start or a move of the clock."""
    for due in operations.all_due(provider.store):
        _wake_at(provider, due.reference, family=due.family, at=due.at)


def stored_fate(operation: Operation) -> Fate:
    """Return the fate with which an operation was created."""
    return parse_fate(operation.fate) if operation.fate else APPROVE


def _conclude(provider: Provider, operation: Operation, *, at: int) -> Operation:
    if operation.decline_code:
        return _change(provider, operation._replace(status=Status.DECLINED, due_at=None))
    return _change(provider, _succeeded(provider, operation._replace(due_at=None), at=at))


def _succeeded(provider: Provider, operation: Operation, *, at: int) -> Operation:
    family = Family(operation.family)
    fee = FEES[family](operation.amount)
    moved = (operation.provider_reference, operation.amount, operation.currency, fee, at, operation.account)
    ledger.record(provider.store, (MOVES[family], operation.reference, operation.payment_id, *moved))
    return operation._replace(status=Status.SUCCEEDED, fee=fee)


def _enter(provider: Provider, operation: Operation) -> Operation:
    operations.insert(provider.store, operation)
    _follow(provider, operation)
    return operation


def _change(provider: Provider, operation: Operation) -> Operation:
    operations.update(provider.store, operation)
    _follow(provider, operation)
    return operation


def _follow(provider: Provider, operation: Operation) -> None:
    if operation.due_at is None:
        provider.webhooks.announce(operation)
    else:
        _wake_at(provider, operation.reference, family=Family(operation.family), at=operation.due_at)


def _wake_at(provider: Provider, reference: str, *, family: Family, at: int) -> None:
    def wake() -> None:
        operation = operations.find(provider.store, reference, family=family)
        if operation is None or operation.due_at is None:
            return  # it was cancelled, or the ledger was emptied meanwhile
        if mature(provider, operation).due_at is not None:
            # The loop's clock and ours differ slightly, or the machine's was set back: check again.
            _wake_at(provider, reference, family=family, at=operation.due_at)

    wait_seconds = max(0.001, (at - provider.clock.now()) / MICROSECONDS_PER_SECOND)
    asyncio.get_running_loop().call_later(wait_seconds, wake)
