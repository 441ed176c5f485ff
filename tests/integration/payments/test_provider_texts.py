"""Card numbers and foreign texts in a provider's answers are not stored."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.factories import QR, Tenant
from tests.integration.payments.evidence import Admin, Evidence, evidence_of
from tests.integration.providers.peer import CODE, PAID, Heard, Peer, http, peer_of, say
from tests.integration.refunds.refund_helpers import RefundMaker
from workflows.providers.registry import Providers
from workflows.settings import Settings

CARD = "4242424242424242"
HTML = http(503, b"<html>Service Unavailable</html>", Content_Type="text/html", Retry_After="1")
SAID = dict.fromkeys(("provider_reference", "approval_code", "card_brand", "card_last_4"), CARD)
SPOKEN = {"decline_message": "Card 4242 4242 4242 4242 was stolen", "decline_code": CARD}
NAMES = ("reference", "payment_id", "currency", "amount")
Say = Callable[[Heard, dict[str, Any]], bytes]


@asynccontextmanager
async def talking(settings: Settings, tenant: Tenant, say_it: Say) -> AsyncIterator[tuple[RefundMaker, Peer]]:
    """Yield a maker of payments and refunds at a provider, and that provider.

    ``say_it`` builds the provider's answers. It gets the request, and the fields that identified the charge or refund
    in its first request.
    """
    known: dict[str, dict[str, Any]] = {}

    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        if heard.body and heard.reference not in known:  # a withdrawal sends fewer fields
            known[heard.reference] = {name: heard.body[name] for name in NAMES}
        await say(writer, say_it(heard, known[heard.reference]))

    async with peer_of(settings, script) as (peer, provider):
        maker = RefundMaker(settings, Providers({"sandbox": provider}), tenant)
        yield maker, peer
        for processor in (maker.processor, maker.payments.processor):
            await asyncio.wait_for(processor.drain(60), timeout=60)


async def make_due(admin: Admin, table: str, row_id: str) -> None:
    """Make the row due now."""
    await admin.execute(f"UPDATE {table} SET due_at = now() WHERE id = %s".encode(), [row_id])


def no_card(found: Evidence) -> None:
    assert not re.search(r"4242.?4242", repr(found))


def success(_heard: Heard, names: dict[str, Any]) -> bytes:
    return http(200, {**PAID, **names, "status": "succeeded"} | SAID)


@pytest.mark.parametrize("is_lost", [False, True], ids=["answered", "asked about"])
async def test_card_numbers_in_successes_are_not_stored(
    settings: Settings, engines: None, tenant: Tenant, admin: Admin, is_lost: bool
) -> None:
    def say_it(heard: Heard, names: dict[str, Any]) -> bytes:
        return HTML if is_lost and heard.method == "POST" else success(heard, names)

    async with talking(settings, tenant, say_it) as (maker, _):
        payment_id = await maker.paid()
        if is_lost:
            await make_due(admin, "payments", payment_id)
            await maker.payments.process(payment_id)
        refund_id = await maker.refunded(payment_id, 400)
        if is_lost:
            await make_due(admin, "refunds", refund_id)
            await maker.process(refund_id)
        payment, refund = await evidence_of(admin, "payment", payment_id), await evidence_of(admin, "refund", refund_id)
    assert (payment.status, refund.status) == ("refunded", "completed")
    names = ("provider_reference", "approval_code", "card_brand", "card_last_4")
    assert [payment.row[name] for name in names] == [None] * 4
    no_card(payment)
    no_card(refund)


async def test_card_numbers_in_declines_are_masked(
    settings: Settings, engines: None, tenant: Tenant, admin: Admin
) -> None:
    def say_it(heard: Heard, names: dict[str, Any]) -> bytes:
        if "refunds" not in heard.path and heard.body["metadata"].get("wanted") != "decline":
            return success(heard, names)
        return http(200, {**names, "status": "declined"} | SPOKEN)

    async with talking(settings, tenant, say_it) as (maker, _):
        declined = await maker.paid(QR, metadata={"wanted": "decline"})
        refund_id = await maker.refunded(await maker.paid(), 400)
        payment, refund = await evidence_of(admin, "payment", declined), await evidence_of(admin, "refund", refund_id)
    assert (payment.status, refund.status) == ("failed", "failed")
    assert payment.row["failure_code"] == "declined"
    assert payment.row["failure_message"] == "Card **** **** **** **** was stolen"
    no_card(payment)
    no_card(refund)


async def test_a_code_that_holds_a_card_number_is_not_shown(
    settings: Settings, engines: None, tenant: Tenant, admin: Admin
) -> None:
    def say_it(_heard: Heard, names: dict[str, Any]) -> bytes:
        return http(200, {**names, **CODE, "status": "waiting", "qr_content": f"https://pay.example/{CARD}"})

    async with talking(settings, tenant, say_it) as (maker, _):
        payment_id = await maker.paid(method_mode="mpm")
        found = await evidence_of(admin, "payment", payment_id)
    assert (found.status, found.row["next_action"], found.row["outcome_known"]) == ("processing", None, True)
    no_card(found)


@pytest.mark.parametrize("status", [503, 429, 403, 401])
async def test_foreign_refusal_of_a_charge_or_refund_leads_to_inquiries_only(
    settings: Settings, engines: None, tenant: Tenant, admin: Admin, status: int
) -> None:
    foreign = HTML.replace(b"503", str(status).encode())

    def say_it(heard: Heard, names: dict[str, Any]) -> bytes:
        return foreign if heard.method == "POST" else success(heard, names)

    async with talking(settings, tenant, say_it) as (maker, peer):
        payment_id = await maker.paid()
        doubted = await evidence_of(admin, "payment", payment_id)
        assert (doubted.status, doubted.row["outcome_known"], doubted.outcomes) == ("processing", False, ["unknown"])
        await make_due(admin, "payments", payment_id)
        await maker.payments.process(payment_id)
        refund_id = await maker.refunded(payment_id, 400)
        assert (await evidence_of(admin, "refund", refund_id)).row["outcome_known"] is False
        await make_due(admin, "refunds", refund_id)
        await maker.process(refund_id)
        refund = await evidence_of(admin, "refund", refund_id)
    assert refund.status == "completed"
    assert [(heard.method, heard.path) for heard in peer.heard] == [
        ("POST", "/v1/charges"),
        ("GET", f"/v1/charges/{payment_id}:1"),
        ("POST", "/v1/refunds"),
        ("GET", f"/v1/refunds/{refund_id}:1"),
    ]
