"""The rival's API: a synchronous route with an ORM session, and ``apply_async`` before the answer."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from benchmarks.rivals.orm_celery.models import (
    TOKEN_SECRET,
    Device,
    IdempotencyRecord,
    Payment,
    PaymentHistory,
    connect,
    new_id,
    now,
)
from benchmarks.rivals.orm_celery.worker import process_payment
from workflows.gc_tuning import tune_gc

THREADS = 40  # FastAPI's default for synchronous routes; each may need a connection

engine, sessions = connect(pool_size=THREADS)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Tune the garbage collector as the product does."""
    tune_gc()
    yield
    engine.dispose()


app = FastAPI(lifespan=lifespan)


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


@app.get("/health")
def health() -> dict[str, str]:
    """Report that this process serves requests."""
    return {"status": "ok"}


@app.post("/api/v1/payments", status_code=201, response_model=PaymentOut)
def create_payment(
    body: PaymentIn,
    device_id: Annotated[str, Depends(get_device_id)],
    idempotency_key: Annotated[str, Header()],
) -> Response:
    """Record a pending payment and publish its task.

    The session is opened here and not by a dependency: a dependency would hold a connection while the route waits for a
    thread, and with more requests than threads all of them would wait for each other.
    """
    fingerprint = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    with sessions() as session:
        device = session.get(Device, device_id)
        if device is None or device.status != "active":
            raise HTTPException(403)
        known = session.get(IdempotencyRecord, (device.merchant_id, idempotency_key))
        if known is not None:
            if known.fingerprint != fingerprint:
                raise HTTPException(422)
            return Response(known.body, 201, media_type="application/json")
        payment = _record(session, body, device)
        answer = PaymentOut.model_validate(payment).model_dump_json()
        session.add(
            IdempotencyRecord(
                merchant_id=device.merchant_id,
                key=idempotency_key,
                fingerprint=fingerprint,
                body=answer,
                created_at=payment.created_at,
            )
        )
        try:
            session.commit()
        except IntegrityError as error:
            raise HTTPException(409) from error
    process_payment.apply_async((payment.id,))
    return Response(answer, 201, media_type="application/json")


def _record(session: Session, body: PaymentIn, device: Device) -> Payment:
    created_at = now()
    payment = Payment(
        id=new_id(),
        merchant_id=device.merchant_id,
        store_id=device.store_id,
        device_id=device.id,
        status="pending",
        version=1,
        amount=body.amount,
        currency=body.currency,
        method=body.method.model_dump(),
        client_reference=body.client_reference,
        details=body.metadata,
        created_at=created_at,
    )
    session.add(payment)
    session.add(PaymentHistory(payment_id=payment.id, version=1, to_status="pending", at=created_at))
    return payment
