"""The rival's API: an asynchronous route, which publishes the task before it answers."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import orjson
from fastapi import Depends, FastAPI, Header, HTTPException, Response
from sqlalchemy.exc import IntegrityError

from benchmarks.rivals.http import PaymentIn, PaymentOut, get_device_id
from benchmarks.rivals.tables import new_id, now
from benchmarks.rivals.taskiq import statements
from benchmarks.rivals.taskiq.worker import broker, process_payment
from workflows.gc_tuning import tune_gc

CONNECTIONS = 20

engine = statements.connect(pool_size=CONNECTIONS)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Connect to the broker, and tune the garbage collector as the product does."""
    await broker.startup()
    tune_gc()
    yield
    await broker.shutdown()
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    """Report that this process serves requests."""
    return {"status": "ok"}


@app.post("/api/v1/payments", status_code=201, response_model=PaymentOut)
async def create_payment(
    body: PaymentIn,
    device_id: Annotated[str, Depends(get_device_id)],
    idempotency_key: Annotated[str, Header()],
) -> Response:
    """Record a pending payment and publish its task."""
    fingerprint = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    async with engine.connect() as connection:
        found = await connection.execute(statements.LOOK_UP, {"device_id": device_id, "key": idempotency_key})
        row = found.one_or_none()
        if row is None or row.status != "active":
            raise HTTPException(403)
        if row.fingerprint is not None:
            if row.fingerprint != fingerprint:
                raise HTTPException(422)
            return Response(row.body, 201, media_type="application/json")
        payment = _new_payment(body, device_id, merchant_id=row.merchant_id, store_id=row.store_id)
        answer = payment.model_dump_json()
        try:
            await connection.execute(statements.ACCEPT, _row(payment, idempotency_key, fingerprint, answer))
        except IntegrityError as error:
            raise HTTPException(409) from error
    await process_payment.kiq(payment.id)
    return Response(answer, 201, media_type="application/json")


def _new_payment(body: PaymentIn, device_id: str, *, merchant_id: str, store_id: str) -> PaymentOut:
    return PaymentOut.model_construct(
        id=new_id(),
        status="pending",
        version=1,
        amount=body.amount,
        currency=body.currency,
        method=body.method.model_dump(),
        client_reference=body.client_reference,
        metadata=body.metadata,
        device_id=device_id,
        store_id=store_id,
        merchant_id=merchant_id,
        provider_reference=None,
        failure_code=None,
        created_at=now(),
        processing_at=None,
        completed_at=None,
        failed_at=None,
    )


def _row(payment: PaymentOut, key: str, fingerprint: str, answer: str) -> dict[str, object]:
    return {
        "id": payment.id,
        "merchant_id": payment.merchant_id,
        "store_id": payment.store_id,
        "device_id": payment.device_id,
        "amount": payment.amount,
        "currency": payment.currency,
        "method": orjson.dumps(payment.method).decode(),
        "client_reference": payment.client_reference,
        "details": orjson.dumps(payment.metadata).decode(),
        "at": payment.created_at,
        "key": key,
        "fingerprint": fingerprint,
        "body": answer,
    }
