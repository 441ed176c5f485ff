"""Calls that certainly moved nothing are retried, under the same reference if the provider deduplicates."""

import time

from tests.factories import PaymentMaker, time_passes
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, evidence, seconds_until
from tests.polling import is_plausible_remainder
from workflows.providers.base import Declined, Unavailable, Unknown
from workflows.refunds.workload import PAYMENTS


async def test_an_unavailable_provider_is_tried_again_under_the_same_reference_with_growing_pauses(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.extend([Unavailable("no connection")] * 5)
    payment_id = await payments.pending()
    for pause in (0.5, 1, 2, 4, 8):
        began = time.monotonic()
        await payments.process(payment_id)
        assert is_plausible_remainder(
            await seconds_until(admin, payment_id, "due_at"), pause * 0.8, pause * 1.2, since=began
        )
        assert (await evidence(admin, payment_id)).status == "processing"
        await time_passes(admin, payment_id, seconds=10)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert found.status == "completed"
    assert (found.outcomes, found.attempts[0]["resends"]) == (["succeeded"], 5)
    assert provider.calls == [("charge", f"{payment_id}:1")] * 6
    assert found.events == ["create", "claim", "complete"]
    # The result of each call is stored, although the calls share one attempt.
    assert found.kinds == ["first_answer", *["resend"] * 5]
    assert [message["answer"] for message in found.messages] == ["unavailable"] * 5 + ["succeeded"]


async def test_a_provider_that_does_not_deduplicate_is_tried_again_under_new_references(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.deduplicates = False
    provider.charges.extend([Unavailable("no connection")] * 2)
    payment_id = await payments.pending()
    for _ in range(3):
        await payments.process(payment_id)
        await time_passes(admin, payment_id, seconds=10)
    found = await evidence(admin, payment_id)
    assert (found.status, found.outcomes) == ("completed", ["unavailable", "unavailable", "succeeded"])
    assert provider.calls == [("charge", f"{payment_id}:{number}") for number in (1, 2, 3)]


async def test_a_retriable_decline_is_followed_by_a_new_reference_and_counted_with_the_retries(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    busy = Declined("processor_busy", is_retriable=True)
    provider.charges.extend(
        [Unavailable("503"), busy, Unavailable("503"), busy, Unavailable("503"), Unavailable("503")]
    )
    payment_id = await payments.pending()
    for _ in range(8):
        await payments.process(payment_id)
        await time_passes(admin, payment_id, seconds=10)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["failure_code"]) == ("failed", "provider_unavailable")
    assert [reference[-2:] for _, reference in provider.calls] == [":1", ":1", ":2", ":2", ":3", ":3"]


async def test_a_lost_answer_between_two_calls_that_did_nothing_is_asked_about_first(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.extend([Unavailable("503"), Unknown("read time-out")])
    payment_id = await payments.pending()
    for _ in range(2):
        await payments.process(payment_id)
        await time_passes(admin, payment_id, seconds=10)
    found = await evidence(admin, payment_id)
    assert (found.outcomes, found.row["outcome_known"]) == (["unknown"], False)
    provider.moved[f"{payment_id}:1"] = 1_000
    await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).status == "completed"
    assert provider.calls == [(kind, f"{payment_id}:1") for kind in ("charge", "charge", "inquire")]


async def test_worker_that_dies_during_a_retry_leads_to_an_inquiry(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Unavailable("503"))
    payment_id = await payments.pending()
    await payments.process(payment_id)
    await time_passes(admin, payment_id, seconds=10)
    assert len(await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=30)) == 1
    found = await evidence(admin, payment_id)
    assert (found.outcomes, found.attempts[0]["resends"], found.kinds) == ([None], 1, ["first_answer"])
    await time_passes(admin, payment_id, seconds=31)
    provider.moved[f"{payment_id}:1"] = 1_000
    await payments.process(payment_id)
    assert provider.calls[-1] == ("inquire", f"{payment_id}:1")
    assert (await evidence(admin, payment_id)).status == "completed"


async def test_after_five_retries_the_payment_failed_and_nothing_moved(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.extend([Unavailable("no connection")] * 9)
    payment_id = await payments.pending()
    for _ in range(8):
        await payments.process(payment_id)
        await time_passes(admin, payment_id, seconds=10)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["failure_code"]) == ("failed", "provider_unavailable")
    assert len(provider.calls) == 6
    assert provider.moved == {}


async def test_the_providers_retry_after_is_honoured(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Unavailable("429", retry_after_seconds=90))
    payment_id = await payments.pending()
    began = time.monotonic()
    await payments.process(payment_id)
    assert is_plausible_remainder(await seconds_until(admin, payment_id, "due_at"), 90, 90, since=began)
    await payments.process(payment_id)
    assert len(provider.calls) == 1
