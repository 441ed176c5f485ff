"""The database stops under load: requests get 503, no answer is wrong, and no accepted payment is lost (F7)."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from tests.live_stack import RECOVERY_SECONDS, LiveStack
from tests.polling import eventually

DURABLE = True
WAIT_SECONDS = 25  # the longest wait that a terminal may request


class Tills:
    """Terminals that pay concurrently. They record the accepted payments and count all HTTP statuses."""

    def __init__(self, live: LiveStack) -> None:
        self.promised: list[str] = []
        self.seen: Counter[int] = Counter()
        self._live = live
        self._is_over = asyncio.Event()

    @asynccontextmanager
    async def paying(self, count: int = 8) -> AsyncIterator[None]:
        """Let all terminals pay inside the block."""
        working = asyncio.gather(*(self._pay() for _ in range(count)))
        try:
            yield
        finally:
            self._is_over.set()
            await working

    async def sell_more(self, count: int = 20) -> None:
        """Wait until ``count`` more payments have been accepted."""
        wanted = len(self.promised) + count

        async def promised() -> int:
            return len(self.promised)

        await eventually(promised, until=lambda count: count >= wanted, within=RECOVERY_SECONDS)

    async def _pay(self) -> None:
        while not self._is_over.is_set():
            answer = await self._live.api.pay(self._live.staff, method={"type": "qr", "mode": "cpm"})
            self.seen[answer.status] += 1
            if answer.status == 201:
                self.promised.append(answer.body["id"])
            else:
                assert answer.status == 503, answer.raw
                assert int(answer.headers["Retry-After"]) > 0
                await asyncio.sleep(0.05)


async def restart_database(live: LiveStack) -> None:
    """Restart PostgreSQL with an orderly shutdown, and wait until the API works again."""
    await live.stack.stop("postgres")
    await asyncio.sleep(0.5)
    await live.stack.start("postgres")
    # The first use of each connection from before the restart is answered 503, as the contract says.
    look = partial(live.api.get, "/payments?limit=1", as_=live.staff)
    await eventually(look, until=lambda answer: answer.status == 200, within=RECOVERY_SECONDS)


async def test_no_accepted_payment_is_lost_and_others_get_503_when_the_database_is_restarted_under_load(
    live: LiveStack,
) -> None:
    tills = Tills(live)
    async with tills.paying():
        for _ in range(2):
            await tills.sell_more()
            await restart_database(live)
        await tills.sell_more()
    assert set(tills.seen) == {201, 503}
    assert await live.final_statuses(tills.promised) == {"completed": len(tills.promised)}


async def test_payments_are_completed_when_the_database_crashes_while_their_provider_is_called(live: LiveStack) -> None:
    ids = await live.submit_until_claimed(20, fate="slow:1400")
    (before,) = await live.sql("SELECT now() AS at")
    live.stack.kill("postgres", signal.SIGQUIT)  # immediate shutdown: crash recovery at the next start
    await live.stack.wait_ready("postgres")
    assert await live.final_statuses(ids) == {"completed": 20}
    after = await live.sql("SELECT FROM payments WHERE id = ANY(%s) AND completed_at > %s", ids, before["at"])
    assert after, "all of them were done before it crashed"


async def test_a_waiting_request_is_woken_after_a_restart_of_the_database(live: LiveStack) -> None:
    created = await live.api.pay(live.staff, method={"type": "qr", "mode": "mpm"})
    payment_id = created.body["id"]
    await eventually(lambda: live.row(payment_id), until=lambda row: row["next_action"] is not None)
    await restart_database(live)
    version = (await live.row(payment_id))["version"]
    path = f"/payments/{payment_id}?wait={WAIT_SECONDS}&since_version={version}"
    listening = "SELECT FROM pg_stat_activity WHERE application_name = 'mpac_watch' AND query LIKE 'LISTEN%%'"
    async with asyncio.timeout(WAIT_SECONDS):  # it must be woken: by itself it looks again only at its end
        waiting = asyncio.ensure_future(live.api.get(path, as_=live.staff))
        await eventually(partial(live.sql, listening), until=bool, within=RECOVERY_SECONDS)
        assert (await live.sandbox("POST", f"/v1/codes/{payment_id}:1/pay")).status == 200
        answer = await waiting
    assert (answer.status, answer.body["version"] > version) == (200, True), answer.raw
    await live.wait_for_status(payment_id, "completed")


@pytest.mark.long
async def test_no_accepted_payment_is_lost_while_the_database_restarts_for_ten_minutes(live: LiveStack) -> None:
    tills, chance, loop = Tills(live), random.Random(7), asyncio.get_running_loop()
    until = loop.time() + 600
    async with tills.paying():
        while loop.time() < until:
            await asyncio.sleep(chance.uniform(5, 40))
            await restart_database(live)
    assert set(tills.seen) == {201, 503}
    assert await live.final_statuses(tills.promised, within=RECOVERY_SECONDS * 2) == {"completed": len(tills.promised)}
