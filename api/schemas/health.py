"""Responses of the probes."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.schemas.enumerations import one_of
from workflows.ops.silence_rules import ADVICE

KINDS = [kind for kind, _ in ADVICE]
State = Literal["heard", "silent", "unknown"]


class LivenessOut(BaseModel):
    """The response of a running process."""

    status: Literal["live"]


class SilentPartOut(BaseModel):
    """A component that has not been heard from for `MPAC_SILENCE_SECONDS`, or whose state is unknown."""

    kind: Annotated[str, one_of(KINDS, "The kind of part that is silent.")]
    name: str
    state: Literal["silent", "deaf", "unknown"]
    silent_seconds: int | None = Field(description="Seconds since it was last heard; null if it never was.")


class QueueOut(BaseModel):
    """A queue, and how long ago a message was consumed from it."""

    name: str
    state: State
    silent_seconds: int | None
    messages_waiting: int | None = Field(description="Null if the broker does not answer.")


class WorkerOut(BaseModel):
    """A worker process, and how long ago it consumed a message. It is `deaf` if it runs but consumes no messages."""

    name: str
    state: Literal["heard", "silent", "deaf", "unknown"]
    silent_seconds: int | None


class ReadinessOut(BaseModel):
    """The response if payments can be stored. Silent parts only delay the processing of payments."""

    status: Literal["ready"]
    beat: State
    broker: State
    silent: list[SilentPartOut]
    queues: list[QueueOut]
    workers: list[WorkerOut]
