"""Requeue: dead letters of payments and of refunds alike. It is here because refunds know payments, and not the reverse."""

from workflows.ops.requeue import Publish, Requeued, requeue_dead_letter
from workflows.payments.states import PAYMENT
from workflows.refunds.states import REFUND
from workflows.tenants.caller import Caller

LEASED = (PAYMENT, REFUND)
"""What is worked on by lease, and quarantined when its worker dies over it again and again."""


async def requeue(letter_id: str, *, publish: Publish, caller: Caller, request_id: str) -> Requeued:
    """Have a dead letter tried again, once.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (done already), ``ServiceUnavailable`` (nothing was done).
    """
    return await requeue_dead_letter(letter_id, publish=publish, leased=LEASED, caller=caller, request_id=request_id)
