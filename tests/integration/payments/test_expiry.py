"""After its expiry, a payment is never sent to a provider, neither for the first time nor again."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from tests.factories import PaymentMaker, time_passes
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, evidence, seconds_until
from tests.polling import is_plausible_remainder
from workflows.payments.workload import PaymentWorkload
from workflows.processing.leases import Claim
from workflows.providers.base import Charge, Unavailable, Unknown
from workflows.refunds.late_cancels import refund_late_cancels
from workflows.refunds.workload import PAYMENTS


async def test_a_payment_that_expired_before_its_claim_is_cancelled_without_a_call(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await payments.pending()
    await time_passes(admin, payment_id, seconds=301)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["cancel_reason"]) == ("cancelled", "expired")
    assert found.events == ["create", "claim", "cancel"]
    assert found.attempts == []
    assert provider.calls == []


async def test_a_payment_whose_retries_outlast_it_is_cancelled_as_expired(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Unavailable("no connection"))
    payment_id = await payments.pending()
    await payments.process(payment_id)
    await time_passes(admin, payment_id, seconds=301)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["cancel_reason"]) == ("cancelled", "expired")
    assert len(provider.calls) == 1


class ExpiresAfterClaim(PaymentWorkload):
    """A workload in which payments expire between their claim and their call."""

    async def claim(self, ids: list[str], **rest: Any) -> list[Claim[Charge]]:
        claimed = await super().claim(ids, **rest)
        return [replace(one, facts=replace(one.facts, expires_at=one.facts.now)) for one in claimed]


@pytest.mark.parametrize("before", ["claim", "retry", "resend"])
async def test_a_payment_that_expired_between_claim_and_call_is_not_sent(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, before: str
) -> None:
    payment_id = await payments.pending()
    if before == "retry":
        provider.charges.append(Unavailable("503"))
        await payments.process(payment_id)
        await time_passes(admin, payment_id, seconds=10)
    elif before == "resend":
        await lose_charge(payments, provider, admin, payment_id)
    sent = [call for call in provider.calls if call[0] == "charge"]
    payments.processor._workload = ExpiresAfterClaim(refund_late_cancels)
    await payments.process(payment_id)
    assert [call for call in provider.calls if call[0] == "charge"] == sent
    payments.processor._workload = PAYMENTS
    await time_passes(admin, payment_id, seconds=301)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["cancel_reason"]) == ("cancelled", "expired")
    assert [call for call in provider.calls if call[0] == "charge"] == sent
    assert (provider.calls[-1:] == [("withdraw", f"{payment_id}:1")]) == (before == "resend")


async def test_charge_carries_the_time_after_which_it_must_not_be_sent(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await payments.pending()
    await payments.process(payment_id)
    left = await seconds_until(admin, payment_id, "expires_at")
    assert 0 < provider.not_after - asyncio.get_running_loop().time() <= left


async def lose_charge(payments: PaymentMaker, provider: FakeProvider, admin: Admin, payment_id: str) -> None:
    """Lose a payment's charge on its way to the provider, and process the payment until that is proved.

    The proof is two inquiries that are answered "not found", a minute apart.
    """
    provider.charges.append(Unknown("read time-out"))
    await payments.process(payment_id)
    for pause in (3, provider.max_processing_seconds + 1):
        await time_passes(admin, payment_id, seconds=pause)
        await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).outcomes == ["not_found"]


@pytest.mark.parametrize("deduplicates", [True, False])
async def test_a_charge_that_never_arrived_is_withdrawn_and_not_sent_again_after_the_expiry(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, *, deduplicates: bool
) -> None:
    provider.deduplicates = deduplicates
    provider.charges.append(Unknown("read time-out"))
    payment_id = await payments.pending()
    await payments.process(payment_id)
    for pause in (3, 301):
        await time_passes(admin, payment_id, seconds=pause)
        await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).outcomes == ["not_found"]
    provider.withdrawals.append(Unknown("read time-out"))
    await payments.process(payment_id)
    began = time.monotonic()
    assert is_plausible_remainder(await seconds_until(admin, payment_id, "due_at"), 0, 2.4, since=began)
    await time_passes(admin, payment_id, seconds=3)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["cancel_reason"], found.outcomes) == ("cancelled", "expired", ["withdrawn"])
    asked = ["charge", "inquire", "inquire", "withdraw", "withdraw"]
    assert provider.calls == [(kind, f"{payment_id}:1") for kind in asked]


async def test_a_provider_that_is_unavailable_until_the_expiry_is_not_charged_late(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.extend([Unavailable("503", retry_after_seconds=250)] * 9)
    payment_id = await payments.pending()
    await payments.process(payment_id)
    await time_passes(admin, payment_id, seconds=251)
    began = time.monotonic()
    await payments.process(payment_id)
    left = await seconds_until(admin, payment_id, "expires_at")
    assert is_plausible_remainder(await seconds_until(admin, payment_id, "due_at"), 0, left + 1, since=began)
    await time_passes(admin, payment_id, seconds=60)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["cancel_reason"]) == ("cancelled", "expired")
    assert len(provider.calls) == 2
