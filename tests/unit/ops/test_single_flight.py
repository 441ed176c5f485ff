"""Concurrent callers share one run of a probe, and later callers start a new run."""

import asyncio

import pytest

from workflows.ops.health import SingleFlight


class Probe:
    """A probe that counts its runs; each run ends when it is released."""

    def __init__(self) -> None:
        self.runs = 0
        self.released = asyncio.Event()

    async def __call__(self) -> int:
        self.runs += 1
        run = self.runs
        await self.released.wait()
        if run == 1:
            raise LookupError("the first run fails")
        return run


async def test_concurrent_callers_share_one_run_and_its_error() -> None:
    probe = Probe()
    shared = SingleFlight(probe)
    asking = [asyncio.ensure_future(shared.result()) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    probe.released.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in outcomes] == [asyncio.CancelledError, *[LookupError] * 19]
    assert probe.runs == 1
    assert await shared.result() == 2


def test_an_unfinished_run_of_another_event_loop_is_not_joined() -> None:
    runs = 0

    async def probe() -> int:
        nonlocal runs
        runs += 1
        await asyncio.sleep(3_600 if runs == 1 else 0)
        return runs

    shared = SingleFlight(probe)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shared.result(), 0.01)

    asyncio.run(give_up())
    assert asyncio.run(shared.result()) == 2
