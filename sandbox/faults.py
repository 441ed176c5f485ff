"""The faults by which a call chooses its fate, and how they are parsed.

``WORDS`` lists them all. They are joined by "+" or ",", at most one per slot, so that a fate cannot contradict itself:
``timeout_after_charge+not_found_lie:60000`` is valid, ``decline:x+partial:5`` is refused.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from sandbox.errors import bad_request

MAX_MILLISECONDS = 604_800_000  # a week: with a moved clock, a doubt may last longer than a day
MAX_TIMES = 1_000
MAX_AMOUNT = 1_000_000_000_000
CODE = re.compile(r"[a-z0-9_]{1,64}")


class Slot(StrEnum):
    """The effect that a fault decides. A fate has at most one fault per slot."""

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
class Word:
    slot: Slot
    parameter: Parameter = Parameter.NONE


WORDS = {
    "approve": Word(Slot.OUTCOME),
    "decline": Word(Slot.OUTCOME, Parameter.CODE),
    "partial": Word(Slot.OUTCOME, Parameter.AMOUNT),
    "timeout_before_charge": Word(Slot.FAULT),
    "timeout_after_charge": Word(Slot.FAULT),
    "error_500_before_charge": Word(Slot.FAULT),
    "error_500_after_charge": Word(Slot.FAULT),
    "reset_after_charge": Word(Slot.FAULT),
    "garbage_after_charge": Word(Slot.FAULT),
    "unavailable": Word(Slot.REFUSAL, Parameter.TIMES),
    "rate_limited": Word(Slot.REFUSAL, Parameter.TIMES),
    "slow": Word(Slot.SLOWNESS, Parameter.MILLISECONDS),
    "pending": Word(Slot.DELAY, Parameter.MILLISECONDS),
    "not_found_lie": Word(Slot.INQUIRY_LIE, Parameter.MILLISECONDS),
    "inquiry_unavailable": Word(Slot.INQUIRY_OUTAGE, Parameter.MILLISECONDS),
    "ignore_idempotency": Word(Slot.IDEMPOTENCY),
}

HIGHEST = {
    Parameter.TIMES: MAX_TIMES,
    Parameter.MILLISECONDS: MAX_MILLISECONDS,
    Parameter.AMOUNT: MAX_AMOUNT,
}


@dataclass(frozen=True, slots=True)
class Fate:
    """The fate of a call. Empty texts and zeros mean that nothing unusual happens."""

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
        """Return what is charged if ``amount`` is requested: less only with ``partial``, never more."""
        return min(amount, self.partial_amount) if self.partial_amount else amount


APPROVE = Fate()


@lru_cache(maxsize=4_096)  # a load test sends the same few texts all the time
def parse_fate(text: str) -> Fate:
    """Parse a fate such as ``slow:300+ignore_idempotency``. Raises Refused (400) for anything unknown."""
    parameters: dict[str, str] = {}
    slots: dict[Slot, str] = {}
    for part in re.split(r"[+,]", text):
        name, colon, parameter = part.strip().partition(":")
        word = WORDS.get(name)
        if word is None:
            raise bad_request(f"unknown sandbox word: {name!r}")
        if word.slot in slots:
            raise bad_request(f"sandbox words contradict each other: {slots[word.slot]} and {name}")
        if bool(colon) != (word.parameter is not Parameter.NONE) or not _fits(word.parameter, parameter):
            raise bad_request(f"sandbox word {name} takes {word.parameter}")
        slots[word.slot] = name
        parameters[name] = parameter
    if set(parameters) == {"approve"}:
        return APPROVE  # the same as no fate, and as cheap
    return _build(text, parameters=parameters, slots=slots)


def _fits(parameter: Parameter, text: str) -> bool:
    if parameter is Parameter.NONE:
        return not text
    if parameter is Parameter.CODE:
        return CODE.fullmatch(text) is not None
    return re.fullmatch(r"[0-9]{1,15}", text) is not None and 1 <= int(text) <= HIGHEST[parameter]


def _build(text: str, *, parameters: dict[str, str], slots: dict[Slot, str]) -> Fate:
    refusal = slots.get(Slot.REFUSAL, "")
    hidden_ms = int(parameters.get("not_found_lie", 0))
    return Fate(
        text=text,
        decline_code=parameters.get("decline", ""),
        partial_amount=int(parameters.get("partial", 0)),
        # A false answer matters only to a caller who got no answer, so it implies the timeout.
        fault=slots.get(Slot.FAULT, "timeout_after_charge" if hidden_ms else ""),
        refusal=refusal,
        refusal_times=int(parameters[refusal]) if refusal else 0,
        slow_ms=int(parameters.get("slow", 0)),
        pending_ms=int(parameters.get("pending", 0)),
        hidden_ms=hidden_ms,
        dark_ms=int(parameters.get("inquiry_unavailable", 0)),
        ignores_idempotency="ignore_idempotency" in parameters,
    )
