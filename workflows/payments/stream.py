"""Stream a payment's versions to a terminal that listens instead of polling.

Each version is sent at least once unless a newer one overtook it: an event shows the current row, so versions only grow. The
stream ends once the payment is final, or when its time is up and the terminal should connect again.
"""

import asyncio
from collections.abc import AsyncIterator

from workflows.payments.change_listener import ChangeListener
from workflows.payments.queries import MOVING, await_payment
from workflows.payments.rows import PaymentRow
from workflows.tenants.caller import Caller

BEAT_SECONDS = 15.0
"""Interval of keep-alive comments in a silent stream: proxies cut connections that are silent for 30-60 s."""


async def follow_payment(
    payment_id: str, *, caller: Caller, watch: ChangeListener, longest_seconds: float
) -> AsyncIterator[PaymentRow | None]:
    """Yield the payment's row now and after each change; ``None`` if nothing happened for ``BEAT_SECONDS``.

    Raises ``ResourceNotFound``, and ``NotAuthorized`` as soon as the device is no longer active.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + longest_seconds
    known = 0
    while (left := give_up_at - loop.time()) > 0:
        row = await await_payment(
            payment_id, caller=caller, watch=watch, wait_seconds=min(left, BEAT_SECONDS), since_version=known
        )
        if row["version"] > known:
            known = row["version"]
            yield row
        else:
            yield None
        if row["status"] not in MOVING:
            return
