"""After wrong, empty or refusing answers over a real connection, at most one call moves money, and no outcome is assumed."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.factories import Tenant, time_passes
from tests.integration.payments.evidence import Admin, evidence, evidence_of, seconds_until
from tests.integration.payments.test_provider_texts import make_due, success, talking
from tests.integration.providers.peer import Heard, Peer, error, http
from tests.integration.refunds.refund_helpers import sums
from workflows.settings import Settings

Wrong = Callable[[dict[str, Any]], bytes]
WRONG: dict[str, Wrong] = {
    "another payment": lambda names: http(200, {**names, "status": "succeeded", "payment_id": "pay_other"}),
    "another reference": lambda names: http(200, {**names, "status": "succeeded", "reference": "pay_other:1"}),
    "the currency in lower case": lambda names: http(200, {**names, "status": "succeeded", "currency": "jpy"}),
    "another currency": lambda names: http(200, {**names, "status": "succeeded", "currency": "USD"}),
    "an amount in words": lambda names: http(200, {**names, "status": "succeeded", "amount": "1000"}),
    "an amount with a fraction": lambda names: http(200, {**names, "status": "succeeded", "amount": 1000.0}),
    "nothing": lambda _: http(200),
    "a list": lambda names: http(200, [{**names, "status": "succeeded"}]),
    "a decline of another": lambda names: http(200, {**names, "status": "declined", "reference": "pay_other:1"}),
    "created": lambda names: http(201, {**names, "status": "declined"}),
    "a decline with a 500": lambda names: http(500, {**names, "status": "declined"}),
}


def refusal(names: dict[str, Any], code: str, status: int, **headers: str) -> bytes:
    """Return the bytes of the provider's refusal of the call that ``names`` identify."""
    return http(status, error(names["reference"], code, payment_id=names["payment_id"]), **headers)


def sent(peer: Peer, path: str) -> list[str]:
    """Return the references of the calls to ``path``."""
    return [heard.reference for heard in peer.heard if heard.path == path]


@pytest.mark.parametrize("wrong", WRONG)
async def test_wrong_answer_to_a_charge_or_refund_leads_to_an_inquiry(
    settings: Settings, engines: None, tenant: Tenant, admin: Admin, wrong: str
) -> None:
    def say_it(heard: Heard, names: dict[str, Any]) -> bytes:
        return WRONG[wrong](names) if heard.method == "POST" else success(heard, names)

    async with talking(settings, tenant, say_it) as (maker, peer):
        payment_id = await maker.paid()
        doubted = await evidence(admin, payment_id)
        assert (doubted.status, doubted.row["outcome_known"], doubted.outcomes) == ("processing", False, ["unknown"])
        await make_due(admin, "payments", payment_id)
        await maker.payments.process(payment_id)
        assert (await evidence(admin, payment_id)).status == "completed"
        refund_id = await maker.refunded(payment_id, 400)
        refund = await evidence_of(admin, "refund", refund_id)
        assert (refund.status, refund.row["outcome_known"], refund.outcomes) == ("processing", False, ["unknown"])
        await make_due(admin, "refunds", refund_id)
        await maker.process(refund_id)
        assert (await evidence_of(admin, "refund", refund_id)).status == "completed"
        assert (sent(peer, "/v1/charges"), sent(peer, "/v1/refunds")) == ([f"{payment_id}:1"], [f"{refund_id}:1"])


async def test_two_refusals_and_a_success_make_one_charge_under_one_reference(
    settings: Settings, engines: None, tenant: Tenant, admin: Admin
) -> None:
    refusals = ["unavailable", "unavailable"]

    def say_it(heard: Heard, names: dict[str, Any]) -> bytes:
        return refusal(names, refusals.pop(), 503) if refusals else success(heard, names)

    async with talking(settings, tenant, say_it) as (maker, peer):
        payment_id = await maker.payments.pending()
        for _ in range(3):
            await maker.payments.process(payment_id)
            await time_passes(admin, payment_id, seconds=10)
        found = await evidence(admin, payment_id)
        assert (found.status, found.outcomes) == ("completed", ["succeeded"])
        assert sent(peer, "/v1/charges") == [f"{payment_id}:1"] * 3


async def test_a_retry_after_beyond_the_expiry_ends_at_the_expiry_and_nothing_more_is_sent(
    settings: Settings, engines: None, tenant: Tenant, admin: Admin
) -> None:
    def say_it(_heard: Heard, names: dict[str, Any]) -> bytes:
        return refusal(names, "rate_limited", 429, Retry_After="99999999999999999999")

    async with talking(settings, tenant, say_it) as (maker, peer):
        payment_id = await maker.payments.pending(expires_in_seconds=60)
        await maker.payments.process(payment_id)
        left = await seconds_until(admin, payment_id, "expires_at")
        assert await seconds_until(admin, payment_id, "due_at") <= left + 1
        await time_passes(admin, payment_id, seconds=61)
        await maker.payments.process(payment_id)
        found = await evidence(admin, payment_id)
        assert (found.status, found.row["cancel_reason"]) == ("cancelled", "expired")
        assert len(peer.heard) == 1


async def test_a_cancel_between_two_tries_sends_nothing_more(
    settings: Settings, engines: None, tenant: Tenant, admin: Admin
) -> None:
    def say_it(_heard: Heard, names: dict[str, Any]) -> bytes:
        return refusal(names, "unavailable", 503, Retry_After="200")

    async with talking(settings, tenant, say_it) as (maker, peer):
        payment_id = await maker.paid()
        await maker.payments.cancel(payment_id)
        await maker.payments.process(payment_id)
        assert (await evidence(admin, payment_id)).status == "cancelled"
        assert len(peer.heard) == 1


@pytest.mark.parametrize(("code", "status"), [("unavailable", 503), ("rate_limited", 429), ("unauthorized", 401)])
async def test_a_refused_withdrawal_leaves_the_payment_open_and_is_repeated(
    settings: Settings, engines: None, tenant: Tenant, admin: Admin, code: str, status: int
) -> None:
    refused = [True]

    def say_it(heard: Heard, names: dict[str, Any]) -> bytes:
        if not heard.path.endswith("/cancel"):
            return http(200)
        return refusal(names, code, status) if refused.pop() else http(200, {**names, "status": "cancelled"})

    async with talking(settings, tenant, say_it) as (maker, peer):
        payment_id = await maker.paid()
        await maker.payments.cancel(payment_id)
        await maker.payments.process(payment_id)
        found = await evidence(admin, payment_id)
        assert (found.status, found.row["outcome_known"]) == ("processing", False)
        refused.append(False)
        await make_due(admin, "payments", payment_id)
        await maker.payments.process(payment_id)
        assert (await evidence(admin, payment_id)).status == "cancelled"
        assert sent(peer, "/v1/charges") == [f"{payment_id}:1"]


async def test_a_refund_that_is_always_refused_fails_and_releases_its_reservation(
    settings: Settings, engines: None, tenant: Tenant, admin: Admin
) -> None:
    def say_it(heard: Heard, names: dict[str, Any]) -> bytes:
        return refusal(names, "unavailable", 503) if heard.path == "/v1/refunds" else success(heard, names)

    async with talking(settings, tenant, say_it) as (maker, peer):
        payment_id = await maker.paid()
        refund_id = await maker.pending(payment_id, 400)
        for _ in range(6):
            await make_due(admin, "refunds", refund_id)
            await maker.process(refund_id)
        found = await evidence_of(admin, "refund", refund_id)
        assert (found.status, found.row["failure_code"]) == ("failed", "provider_unavailable")
        assert await sums(admin, payment_id) == ("completed", 0, 0)
        assert sent(peer, "/v1/refunds") == [f"{refund_id}:1"] * 6
