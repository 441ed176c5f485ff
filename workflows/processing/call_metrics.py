"""Count calls to providers: the operation, its duration, and the kind of answer."""

import time
from collections.abc import Awaitable, Mapping
from typing import get_args

from workflows.database.metrics_buffer import PROCESS_COUNTS
from workflows.processing.next_step import Step
from workflows.providers.base import Answer

OPERATIONS: Mapping[str, Mapping[Step, str]] = {
    "payment": {Step.INQUIRE: "inquire", Step.WITHDRAW: "withdraw", Step.REVERSE: "reverse"},
    "refund": {Step.INQUIRE: "inquire_refund"},
}
"""Entity and step → the provider's operation. Every other step sends a charge or a refund."""

SENDS = {"payment": "charge", "refund": "refund"}

OUTCOMES: tuple[str, ...] = tuple(kind.name for kind in get_args(Answer))
"""The labels of answers. Two are errors: ``unavailable`` (nothing happened) and ``unknown`` (the outcome is not known)."""

BROKEN = "error"
"""Label of a call whose adapter raised. An adapter must not raise."""

RETRIES = frozenset({Step.RETRY, Step.RESEND})


async def count_call(entity: str, provider: str, step: Step, call: Awaitable[Answer]) -> Answer:
    """Await ``call``, count it by outcome and time it; return its answer."""
    operation = OPERATIONS[entity].get(step, SENDS[entity])
    if step in RETRIES:
        PROCESS_COUNTS.add("retries", (entity, provider, str(step)))
    began = time.perf_counter()
    outcome = BROKEN
    try:
        answer = await call
        outcome = answer.name
        return answer
    finally:
        PROCESS_COUNTS.observe("provider_call_seconds", (provider, operation), time.perf_counter() - began)
        PROCESS_COUNTS.add("provider_calls", (provider, operation, outcome))
