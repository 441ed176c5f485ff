"""``WatchedStack`` records processes that ended although no test ended them. All other chaos tests rely on it."""

import os
import signal

from tests.live_stack import LiveStack
from tests.polling import until

WORKER = "worker-payments-1"


async def test_a_crash_is_recorded_and_a_kill_by_the_test_is_not(live: LiveStack) -> None:
    live.stack.kill(WORKER)
    await live.stack.wait_ready(WORKER)
    assert live.stack.unexpected_ends == []
    os.kill(live.stack.pids[WORKER], signal.SIGKILL)  # without `stack.kill`, so the stack does not expect it
    await until(lambda: bool(live.stack.unexpected_ends))
    await live.restore()
    (end,) = live.stack.unexpected_ends
    assert end.startswith(f"{WORKER} ended (SIGKILL)")
    live.stack.forget_ends()
