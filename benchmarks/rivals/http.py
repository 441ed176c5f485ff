"""The HTTP interface that the rivals share: who calls, what a request and an answer look like."""

from typing import Annotated, Any, Literal

import jwt
from fastapi import Header, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.rivals.tables import TOKEN_SECRET


class Method(BaseModel):
    """The method of a payment."""

    type: Literal["qr", "card"]
    mode: Literal["cpm"] | None = None
    token: str | None = None


class PaymentIn(BaseModel):
    """A request for a payment."""

    model_config = ConfigDict(extra="forbid")

    amount: int = Field(gt=0)
    currency: str = "JPY"
    method: Method
    client_reference: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class PaymentOut(BaseModel):
    """A payment."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    status: str
    version: int
    amount: int
    currency: str
    method: dict[str, Any]
    client_reference: str | None
    metadata: dict[str, Any] = Field(validation_alias="details")
    device_id: str
    store_id: str
    merchant_id: str
    provider_reference: str | None
    failure_code: str | None
    created_at: Any
    processing_at: Any
    completed_at: Any
    failed_at: Any


async def get_device_id(authorization: Annotated[str, Header()]) -> str:
    """Return the device that a valid token names."""
    try:
        claims = jwt.decode(authorization.removeprefix("Bearer "), TOKEN_SECRET, algorithms=["HS256"])
    except jwt.PyJWTError as error:
        raise HTTPException(401) from error
    return str(claims["sub"])
