"""Stream: a payment's versions as they come, for a terminal that rather listens than asks.

Each version is seen at least once unless a newer one overtook it: what is told is the row as it is, so versions only
grow. The stream ends by itself once the payment is final, or when the time is up and the terminal should ask anew.
"""

import asyncio
from collections.abc import AsyncIterator

from workflows.payments.change_listener import ChangeListener
from workflows.payments.queries import MOVING, await_payment
from workflows.payments.rows import PaymentRow
from workflows.tenants.caller import Caller

BEAT_SECONDS = 15.0
"""How often a silent stream says that it lives: proxies cut connections that say nothing for 30-60 s."""


async def follow_payment(
    payment_id: str, *, caller: Caller, watch: ChangeListener, longest_seconds: float
) -> AsyncIterator[PaymentRow | None]:
    """The payment's row now, and again after each move; ``None`` where nothing happened for ``BEAT_SECONDS``.

    Raises ``ResourceNotFound``, and ``NotAuthorized`` as soon as the device is not active any more.
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
