"""The rival's API: a synchronous route with an ORM session, and ``apply_async`` before the answer."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from benchmarks.rivals.http import PaymentIn, PaymentOut, get_device_id
from benchmarks.rivals.orm_celery.sessions import connect
from benchmarks.rivals.orm_celery.worker import process_payment
from benchmarks.rivals.tables import Device, IdempotencyRecord, Payment, PaymentHistory, new_id, now
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
