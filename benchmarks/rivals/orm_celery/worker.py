"""The rival's worker: one task per payment, which claims, calls and records."""

from datetime import datetime
from typing import Any

import urllib3
from celery import Celery
from celery.signals import worker_ready
from sqlalchemy.orm import Session

from benchmarks.rivals.orm_celery.sessions import connect
from benchmarks.rivals.tables import (
    BROKER_URL,
    SANDBOX_API_KEY,
    SANDBOX_URL,
    Payment,
    PaymentAttempt,
    PaymentHistory,
    now,
)
from mpac.stack.ready_file import announce_ready
from workflows.gc_tuning import tune_gc

THREADS = 32  # `celery worker -P threads -c 32`: README.md says why
PUBLISHERS = 40  # threads of the API that publish at once
TIMEOUT_SECONDS = 10

app = Celery("rival", broker=BROKER_URL)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_send_task_events=True,
    broker_pool_limit=PUBLISHERS,
    broker_connection_retry_on_startup=True,
)
engine, sessions = connect(pool_size=THREADS)
http = urllib3.PoolManager(
    maxsize=THREADS, block=True, retries=False, headers={"Authorization": f"Bearer {SANDBOX_API_KEY}"}
)


class NoAnswer(Exception):
    """The provider did not report the outcome, so the task retries with an inquiry."""


@worker_ready.connect  # type: ignore[untyped-decorator]  # Celery is untyped
def _tune_and_announce(**_: Any) -> None:
    tune_gc()
    announce_ready()


@app.task(bind=True, name="payments.process", autoretry_for=(NoAnswer,), retry_backoff=2, max_retries=10)  # type: ignore[untyped-decorator]
def process_payment(_task: Any, payment_id: str) -> None:
    """Charge one payment and record the outcome. A second delivery inquires about the charge of the first."""
    with sessions.begin() as session:
        payment = session.get(Payment, payment_id, with_for_update=True)
        if payment is None or payment.status not in ("pending", "processing"):
            return
        is_new = payment.status == "pending"
        reference = f"{payment.id}:1"
        if is_new:
            at = now()
            payment.processing_at = at
            _change_status(session, payment, "processing", at)
            session.add(PaymentAttempt(payment_id=payment.id, number=1, reference=reference, sent_at=at))
        body = {
            "reference": reference,
            "payment_id": payment.id,
            "amount": payment.amount,
            "currency": payment.currency,
            "metadata": payment.details,
        }
    answer = _call(reference, body if is_new else None)
    with sessions.begin() as session:
        payment = session.get(Payment, payment_id, with_for_update=True)
        attempt = session.get(PaymentAttempt, (payment_id, 1))
        if payment is None or attempt is None or payment.status != "processing":
            return
        attempt.answered_at, attempt.outcome = now(), answer["status"]
        payment.provider_reference = answer.get("provider_reference")
        if answer["status"] == "succeeded":
            payment.completed_at = attempt.answered_at
            _change_status(session, payment, "completed", attempt.answered_at)
        else:
            payment.failed_at, payment.failure_code = attempt.answered_at, answer.get("decline_code")
            _change_status(session, payment, "failed", attempt.answered_at)


def _change_status(session: Session, payment: Payment, status: str, at: datetime) -> None:
    payment.version += 1
    change = PaymentHistory(
        payment_id=payment.id, version=payment.version, from_status=payment.status, to_status=status, at=at
    )
    payment.status = status
    session.add(change)


def _call(reference: str, body: dict[str, Any] | None) -> dict[str, Any]:
    """Send a charge, or an inquiry if ``body`` is ``None``, and return the provider's answer.

    Raises ``NoAnswer`` unless the provider reported the outcome.
    """
    try:
        if body is None:
            response = http.request("GET", f"{SANDBOX_URL}/v1/charges/{reference}", timeout=TIMEOUT_SECONDS)
        else:
            response = http.request("POST", f"{SANDBOX_URL}/v1/charges", json=body, timeout=TIMEOUT_SECONDS)
        answer: dict[str, Any] = response.json()
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise NoAnswer(str(error)) from error
    if response.status != 200 or answer["status"] not in ("succeeded", "declined"):
        raise NoAnswer(str(response.status))
    return answer
