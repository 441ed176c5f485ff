"""A poison refund is quarantined with its reservation, and an operator's requeue leads to an inquiry."""

from typing import Any

import pytest

from tests.factories import QR, Signer, time_passes
from tests.fakes import FakeProvider
from tests.harness import Api
from tests.integration.payments.evidence import all_of
from tests.integration.payments.evidence import evidence as evidence_of_payment
from tests.integration.refunds import refund_helpers
from tests.integration.refunds.refund_helpers import Admin, RefundMaker, evidence, sums
from workflows.errors import ServiceUnavailable
from workflows.ops.dead_letters import requeue_dead_letter
from workflows.processing.leases import MAX_UNANSWERED_CLAIMS
from workflows.refunds.workload import PAYMENTS, REFUNDS
from workflows.tenants.caller import Caller, CallerRole

LEASE_SECONDS = 30


async def letter_of(admin: Admin, entity_id: str) -> dict[str, Any]:
    (letter,) = await all_of(admin, b"SELECT * FROM dead_letters WHERE entity_id = %s", entity_id)
    return letter


async def quarantined(refunds: RefundMaker, admin: Admin) -> tuple[str, str]:
    """Create a refund whose workers crash at every claim; return the ids of its payment and of the refund."""
    payment_id = await refunds.paid()
    refund_id = await refunds.pending(payment_id, 300)
    for _ in range(MAX_UNANSWERED_CLAIMS + 1):
        await REFUNDS.claim([refund_id], worker="a-worker-that-dies", lease_seconds=LEASE_SECONDS)
        await refund_helpers.time_passes(admin, refund_id, seconds=LEASE_SECONDS + 1)
    return payment_id, refund_id


async def test_a_poisonous_refund_is_quarantined_and_stays_reserved(refunds: RefundMaker, admin: Admin) -> None:
    payment_id, refund_id = await quarantined(refunds, admin)
    found = await evidence(admin, refund_id)
    assert (found.status, found.row["due_at"], found.row["needs_review"]) == ("processing", None, True)
    assert found.history[-1]["reason"] == "quarantined"
    letter = await letter_of(admin, refund_id)
    assert (letter["task"], letter["arguments"], letter["deliveries"]) == (
        "refunds.process",
        [[refund_id]],
        MAX_UNANSWERED_CLAIMS,
    )
    assert await sums(admin, payment_id) == ("completed", 300, 0)
    await refunds.process(refund_id)
    assert (await evidence(admin, refund_id)).row == found.row


async def test_requeued_refund_is_inquired_about_before_anything_is_sent(
    api: Api, refunds: RefundMaker, provider: FakeProvider, admin: Admin, signer: Signer
) -> None:
    payment_id, refund_id = await quarantined(refunds, admin)
    provider.moved[f"{refund_id}:1"] = 300
    letter = await letter_of(admin, refund_id)
    operator = signer.user(refunds.tenant, role="system_op")
    answer = await api.post(f"/ops/dead-letters/{letter['id']}/requeue", as_=operator)
    assert (answer.status, answer.body) == (200, {"task": "refunds.process", "arguments": [[refund_id]]})
    again = await api.post(f"/ops/dead-letters/{letter['id']}/requeue", as_=operator)
    assert (again.status, again.code) == (409, "INVALID_STATUS_TRANSITION")
    await refunds.process(refund_id)
    found = await evidence(admin, refund_id)
    assert (found.status, found.row["needs_review"]) == ("completed", False)
    assert found.events == ["create", "claim", "request_review", "requeue", "complete"]
    assert found.history[3]["caller_id"] == "usr_system_op"
    assert [kind for kind, _ in provider.calls] == ["charge", "inquire_refund"]
    assert await sums(admin, payment_id) == ("refunded", 300, 300)


async def test_quarantined_payment_is_requeued_like_a_refund(
    api: Api, refunds: RefundMaker, admin: Admin, signer: Signer
) -> None:
    payment_id = await refunds.payments.pending(QR)
    for _ in range(MAX_UNANSWERED_CLAIMS + 1):
        await PAYMENTS.claim([payment_id], worker="a-worker-that-dies", lease_seconds=LEASE_SECONDS)
        await time_passes(admin, payment_id, seconds=LEASE_SECONDS + 1)
    letter = await letter_of(admin, payment_id)
    operator = signer.user(refunds.tenant, role="system_op")
    assert (await api.post(f"/ops/dead-letters/{letter['id']}/requeue", as_=operator)).status == 200
    assert (await evidence_of_payment(admin, payment_id)).events[-1] == "requeue"


async def test_requeue_is_refused_for_everybody_but_operators(
    api: Api, refunds: RefundMaker, admin: Admin, signer: Signer
) -> None:
    _, refund_id = await quarantined(refunds, admin)
    letter = await letter_of(admin, refund_id)
    for role in ("staff", "merchant_admin", "psp_admin"):
        answer = await api.post(f"/ops/dead-letters/{letter['id']}/requeue", as_=signer.user(refunds.tenant, role=role))
        assert answer.status == 403, role


async def test_requeue_without_the_broker_changes_nothing_and_can_be_repeated(
    refunds: RefundMaker, admin: Admin
) -> None:
    operator = Caller("usr_operator", CallerRole.SYSTEM_OP)
    _, refund_id = await quarantined(refunds, admin)
    letter = await letter_of(admin, refund_id)
    published: list[str] = []

    async def broken(_task: str, _arguments: list[Any]) -> None:
        raise ServiceUnavailable(retry_after_seconds=5)

    async def whole(task: str, _arguments: list[Any]) -> None:
        published.append(task)

    with pytest.raises(ServiceUnavailable):
        await requeue_dead_letter(letter["id"], publish=broken, caller=operator, request_id="req_1")
    assert (await letter_of(admin, refund_id))["requeued_at"] is None
    await requeue_dead_letter(letter["id"], publish=whole, caller=operator, request_id="req_1")
    assert published == ["refunds.process"]
    assert (await letter_of(admin, refund_id))["requeued_by"] == operator.id
