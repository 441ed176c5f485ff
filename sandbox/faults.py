"""Parse the fate of a call: the faults that the sandbox applies to it.

``FAULTS`` lists all faults. A fate joins some of them by "+" or ",", at most one of each group, so that it cannot contradict
itself: ``timeout_after_charge+not_found_lie:60000`` is valid, ``decline:x+partial:5`` is refused.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from sandbox.errors import bad_request_error

MAX_MILLISECONDS = 604_800_000  # a week: when the clock is moved, an outcome may stay unknown for more than a day
MAX_TIMES = 1_000
MAX_AMOUNT = 1_000_000_000_000
CODE = re.compile(r"[a-z0-9_]{1,64}")


class FaultGroup(StrEnum):
    """The part of a call that a fault changes. A fate has at most one fault of each group."""

    OUTCOME = "outcome"
    FAULT = "fault"
    REFUSAL = "refusal"
    SLOWNESS = "slowness"
    DELAY = "delay"
    INQUIRY_LIE = "inquiry lie"
    INQUIRY_OUTAGE = "inquiry outage"
    IDEMPOTENCY = "idempotency"


class Parameter(StrEnum):
    """The type of the value after a fault's colon."""

    NONE = "nothing"
    CODE = "a code of a-z, 0-9 and _"
    TIMES = f"a number of times, 1 to {MAX_TIMES}"
    MILLISECONDS = f"milliseconds, 1 to {MAX_MILLISECONDS}"
    AMOUNT = "an amount in minor units, at least 1"


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """The group of a fault, and the type of the value after its colon."""

    group: FaultGroup
    parameter: Parameter = Parameter.NONE


FAULTS = {
    "approve": FaultSpec(FaultGroup.OUTCOME),
    "decline": FaultSpec(FaultGroup.OUTCOME, Parameter.CODE),
    "partial": FaultSpec(FaultGroup.OUTCOME, Parameter.AMOUNT),
    "timeout_before_charge": FaultSpec(FaultGroup.FAULT),
    "timeout_after_charge": FaultSpec(FaultGroup.FAULT),
    "error_500_before_charge": FaultSpec(FaultGroup.FAULT),
    "error_500_after_charge": FaultSpec(FaultGroup.FAULT),
    "reset_after_charge": FaultSpec(FaultGroup.FAULT),
    "garbage_after_charge": FaultSpec(FaultGroup.FAULT),
    "unavailable": FaultSpec(FaultGroup.REFUSAL, Parameter.TIMES),
    "rate_limited": FaultSpec(FaultGroup.REFUSAL, Parameter.TIMES),
    "slow": FaultSpec(FaultGroup.SLOWNESS, Parameter.MILLISECONDS),
    "pending": FaultSpec(FaultGroup.DELAY, Parameter.MILLISECONDS),
    "not_found_lie": FaultSpec(FaultGroup.INQUIRY_LIE, Parameter.MILLISECONDS),
    "inquiry_unavailable": FaultSpec(FaultGroup.INQUIRY_OUTAGE, Parameter.MILLISECONDS),
    "ignore_idempotency": FaultSpec(FaultGroup.IDEMPOTENCY),
}

HIGHEST = {
    Parameter.TIMES: MAX_TIMES,
    Parameter.MILLISECONDS: MAX_MILLISECONDS,
    Parameter.AMOUNT: MAX_AMOUNT,
}


@dataclass(frozen=True, slots=True)
class Fate:
    """The faults that are applied to a call. Empty texts and zeros mean that a fault is not applied."""

    text: str = ""
    decline_code: str = ""
    partial_amount: int = 0
    fault: str = ""
    refusal: str = ""
    refusal_times: int = 0
    slow_ms: int = 0
    pending_ms: int = 0
    hidden_ms: int = 0
    dark_ms: int = 0
    ignores_idempotency: bool = False

    def captured(self, amount: int) -> int:
        """Return the amount that is charged if ``amount`` is requested. Only ``partial`` makes it less."""
        return min(amount, self.partial_amount) if self.partial_amount else amount


APPROVE = Fate()


@lru_cache(maxsize=4_096)  # a load test sends the same few texts again and again
def parse_fate(text: str) -> Fate:
    """Parse a fate such as ``slow:300+ignore_idempotency``. Raises Refused (400) for anything unknown."""
    parameters: dict[str, str] = {}
    by_group: dict[FaultGroup, str] = {}
    for part in re.split(r"[+,]", text):
        name, colon, parameter = part.strip().partition(":")
        spec = FAULTS.get(name)
        if spec is None:
            raise bad_request_error(f"unknown fault: {name!r}")
        if spec.group in by_group:
            raise bad_request_error(f"these faults contradict each other: {by_group[spec.group]} and {name}")
        if bool(colon) != (spec.parameter is not Parameter.NONE) or not _fits(spec.parameter, parameter):
            raise bad_request_error(f"the fault {name} takes {spec.parameter}")
        by_group[spec.group] = name
        parameters[name] = parameter
    if set(parameters) == {"approve"}:
        return APPROVE  # the same as no fate, and as cheap
    return _build(text, parameters=parameters, by_group=by_group)


def _fits(parameter: Parameter, text: str) -> bool:
    if parameter is Parameter.NONE:
        return not text
    if parameter is Parameter.CODE:
        return CODE.fullmatch(text) is not None
    return re.fullmatch(r"[0-9]{1,15}", text) is not None and 1 <= int(text) <= HIGHEST[parameter]


def _build(text: str, *, parameters: dict[str, str], by_group: dict[FaultGroup, str]) -> Fate:
    refusal = by_group.get(FaultGroup.REFUSAL, "")
    hidden_ms = int(parameters.get("not_found_lie", 0))
    return Fate(
        text=text,
        decline_code=parameters.get("decline", ""),
        partial_amount=int(parameters.get("partial", 0)),
        # Only a caller that got no answer inquires, so a false answer to inquiries implies a timeout.
        fault=by_group.get(FaultGroup.FAULT, "timeout_after_charge" if hidden_ms else ""),
        refusal=refusal,
        refusal_times=int(parameters[refusal]) if refusal else 0,
        slow_ms=int(parameters.get("slow", 0)),
        pending_ms=int(parameters.get("pending", 0)),
        hidden_ms=hidden_ms,
        dark_ms=int(parameters.get("inquiry_unavailable", 0)),
        ignores_idempotency="ignore_idempotency" in parameters,
    )
