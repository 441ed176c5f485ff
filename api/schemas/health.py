"""Health: what the probes answer."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class LivenessOut(BaseModel):
    """This process runs."""

    status: Literal["live"]


class ReadinessOut(BaseModel):
    """This process can store a payment."""

    status: Literal["ready"]
    beat: Annotated[Literal["heard", "silent"], Field(description="`silent`: retries, inquiries and expiry wait")]
