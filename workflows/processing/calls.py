"""Count calls to providers: what was asked, how long it took, and what the answer means."""

import time
from collections.abc import Awaitable, Mapping

from workflows.database.metric_counts import TALLY
from workflows.processing.next_step import Step
from workflows.providers.base import (
    ActionRequired,
    Answer,
    Declined,
    NotFound,
    Succeeded,
    Unavailable,
    Unknown,
    Withdrawn,
)

OPERATIONS: Mapping[str, Mapping[Step, str]] = {
    "payment": {Step.INQUIRE: "inquire", Step.WITHDRAW: "withdraw", Step.REVERSE: "reverse"},
    "refund": {Step.INQUIRE: "inquire_refund"},
}
"""Entity and step → the provider's operation. Every other step sends a charge or a refund."""

SENDS = {"payment": "charge", "refund": "refund"}

OUTCOMES: Mapping[type, str] = {
    Succeeded: "succeeded",
    Declined: "declined",
    ActionRequired: "action_required",
    Unavailable: "unavailable",
    Unknown: "unknown",
    NotFound: "not_found",
    Withdrawn: "withdrawn",
}
"""Kind of answer → its word. ``unavailable`` and ``unknown`` are the errors: nothing happened, and nobody knows."""

BROKEN = "error"
"""The adapter raised, which it must not."""

RETRIES = frozenset({Step.RETRY, Step.RESEND})


async def counted(entity: str, provider: str, step: Step, call: Awaitable[Answer]) -> Answer:
    """Await ``call`` and count it."""
    operation = OPERATIONS[entity].get(step, SENDS[entity])
    if step in RETRIES:
        TALLY.add("retries", (entity, provider, str(step)))
    began = time.perf_counter()
    outcome = BROKEN
    try:
        answer = await call
        outcome = OUTCOMES[type(answer)]
        return answer
    finally:
        TALLY.observe("provider_call_seconds", (provider, operation), time.perf_counter() - began)
        TALLY.add("provider_calls", (provider, operation, outcome))
