"""Pay with the generated client: create a payment, wait, refund it, find it, and handle an error by its code."""

import sys
import time
import uuid

from generated_client import AuthenticatedClient
from generated_client.api.payments import create_payment, get_payment, list_payments
from generated_client.api.refunds import get_refund, refund_payment
from generated_client.models import (
    ErrorCode,
    ErrorOut,
    PaymentIn,
    PaymentOut,
    PaymentStatus,
    QrMethod,
    QrMethodMode,
    RefundIn,
    RefundOut,
    RefundStatus,
)

UNDER_WAY = (PaymentStatus.PENDING, PaymentStatus.PROCESSING)

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2], timeout=60)
key = str(uuid.uuid4())
body = PaymentIn(amount=1_200, method=QrMethod(type_="qr", mode=QrMethodMode.CPM), client_reference=f"till-2/{key}")

payment = create_payment.sync(client=client, body=body, idempotency_key=key)
assert isinstance(payment, PaymentOut), payment
while payment.status in UNDER_WAY:
    payment = get_payment.sync(payment.id, client=client, wait=10, since_version=payment.version)
    assert isinstance(payment, PaymentOut), payment
print("payment", payment.status, payment.captured_amount)

why = RefundIn(amount=200, reason="one dish was cold", staff_code="s-7")
refund = refund_payment.sync(payment.id, client=client, body=why, idempotency_key=str(uuid.uuid4()))
assert isinstance(refund, RefundOut), refund
while refund.status in (RefundStatus.PENDING, RefundStatus.PROCESSING):
    time.sleep(0.1)
    refund = get_refund.sync(refund.id, client=client)
    assert isinstance(refund, RefundOut), refund
print("refund", refund.status, refund.amount)

found = list_payments.sync(client=client, client_reference=f"till-2/{key}")
assert found is not None
assert not isinstance(found, ErrorOut)
print("found", len(found.data), found.data[0].refunded_amount)

refused = create_payment.sync(client=client, body=PaymentIn(amount=1, method=body.method), idempotency_key=key)
assert isinstance(refused, ErrorOut), refused
assert refused.error.code is ErrorCode.IDEMPOTENCY_KEY_REUSED
print("refused", refused.error.code)
