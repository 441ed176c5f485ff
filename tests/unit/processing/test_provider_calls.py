"""Each step of a payment or refund makes its provider call, and a step without a call moves no money."""

from typing import Any, cast

import pytest

from workflows.processing.leases import Claim
from workflows.processing.next_step import SENDS, Step
from workflows.processing.workload import Workload
from workflows.providers.base import Provider
from workflows.refunds.workload import PAYMENTS, REFUNDS

CALLS: dict[str, tuple[Workload[Any], dict[Step, str]]] = {
    "payment": (
        PAYMENTS,
        {
            **dict.fromkeys(sorted(SENDS), "charge"),
            Step.INQUIRE: "inquire",
            Step.WITHDRAW: "withdraw",
            Step.REVERSE: "reverse",
        },
    ),
    "refund": (REFUNDS, {**dict.fromkeys(sorted(SENDS), "refund"), Step.INQUIRE: "inquire_refund"}),
}


class RecordingProvider:
    """A provider that records which of its methods are called."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def call(_request: object, **_options: object) -> None:
            self.called.append(name)

        return call


class OnlyAStep:
    """A stand-in for ``Claim`` with the only attributes that ``call_provider`` reads: the step and the request."""

    request = None

    def __init__(self, step: Step) -> None:
        self.step = step


async def called_for(workload: Workload[Any], step: Step) -> list[str]:
    """Return the provider methods that ``step`` calls."""
    provider = RecordingProvider()
    claim = cast(Claim[Any], OnlyAStep(step))
    await workload.call_provider(cast(Provider, provider), claim, not_after=0.0)
    return provider.called


@pytest.mark.parametrize(
    ("entity", "step", "method"), [(entity, *pair) for entity, (_, calls) in CALLS.items() for pair in calls.items()]
)
async def test_step_makes_its_provider_call(entity: str, step: Step, method: str) -> None:
    assert await called_for(CALLS[entity][0], step) == [method]


@pytest.mark.parametrize(
    ("entity", "step"), [(entity, step) for entity, (_, calls) in CALLS.items() for step in Step if step not in calls]
)
async def test_step_without_a_provider_call_is_refused(entity: str, step: Step) -> None:
    with pytest.raises(ValueError, match=step):
        await called_for(CALLS[entity][0], step)
