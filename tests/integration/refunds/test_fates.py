"""For every fate of a refund at the sandbox provider, its ledger and our books agree on the refunded amount."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from tests.factories import QR, Tenant
from tests.integration.refunds.refund_helpers import Admin, RefundMaker, evidence, process_when_due, sums
from tests.integration.sandbox.harness import KEY, Sandbox
from workflows.providers.registry import open_providers
from workflows.settings import Settings

TIMEOUT_SECONDS = 0.3
MAX_PROCESSING_SECONDS = 60.0
GENEROUS_SECONDS = 10.0


@pytest.fixture
async def refunds(settings: Settings, engines: None, tenant: Tenant, sandbox: Sandbox) -> AsyncIterator[RefundMaker]:
    """Yield a maker of payments and refunds at the sandbox, over real HTTP."""
    changes = {
        "sandbox_url": sandbox.url,
        "sandbox_api_key": SecretStr(KEY),
        "sandbox_timeout_seconds": TIMEOUT_SECONDS,
        "sandbox_max_processing_seconds": MAX_PROCESSING_SECONDS,
    }
    known = settings.model_copy(update=changes)
    providers = open_providers(known)
    maker = RefundMaker(known, providers, tenant)
    yield maker
    await asyncio.wait_for(maker.processor.drain(5), 10)
    await providers.close()


async def ended(refunds: RefundMaker, admin: Admin, refund_id: str) -> str:
    """Process a refund until it is final or is never due again, and return its status."""
    await refunds.process(refund_id)
    deadline = time.monotonic() + GENEROUS_SECONDS
    while True:
        row = (await evidence(admin, refund_id)).row
        if row["due_at"] is None:
            return str(row["status"])
        assert time.monotonic() < deadline, row
        if row["lease_until"] is None:
            # Two not-founds prove something only if the provider's maximum processing time lies between them.
            await process_when_due(refunds, admin, refund_id, after=MAX_PROCESSING_SECONDS + 1)
        await asyncio.sleep(0.01)


FATES = [
    ("approve", "completed", 1),
    ("slow:50", "completed", 1),
    ("timeout_after_charge", "completed", 1),
    ("error_500_after_charge", "completed", 1),
    ("reset_after_charge", "completed", 1),
    ("garbage_after_charge", "completed", 1),
    ("timeout_before_charge", "completed", 1),
    ("error_500_before_charge", "completed", 1),
    ("unavailable:2", "completed", 1),
    ("rate_limited:1", "completed", 1),
    ("pending:150", "completed", 1),
    ("not_found_lie:150", "completed", 1),
    ("ignore_idempotency", "completed", 1),
    ("timeout_after_charge+ignore_idempotency", "completed", 1),
    ("decline:refund_window_closed", "failed", 0),
    ("unavailable:6", "failed", 0),
]


@pytest.mark.parametrize(("fate", "status", "times"), FATES, ids=[fate for fate, _, _ in FATES])
async def test_provider_refunds_at_most_once_under_every_fate(
    refunds: RefundMaker, sandbox: Sandbox, admin: Admin, fate: str, status: str, times: int
) -> None:
    payment_id = await refunds.paid(QR)
    refund_id = await refunds.pending(payment_id, 300, metadata={"sandbox": fate})
    assert await ended(refunds, admin, refund_id) == status
    assert await sandbox.moved(payment_id) == [("charge", 1_000)] + [("refund", 300)] * times
    assert (await sums(admin, payment_id))[1:] == (300 * times, 300 * times)
    found = await evidence(admin, refund_id)
    assert found.row["outcome_known"] is True
    assert bool(found.row["provider_reference"]) == bool(times)


async def test_provider_that_refunded_less_leads_to_a_review(
    refunds: RefundMaker, sandbox: Sandbox, admin: Admin
) -> None:
    payment_id = await refunds.paid(QR)
    refund_id = await refunds.pending(payment_id, 300, metadata={"sandbox": "partial:200"})
    assert await ended(refunds, admin, refund_id) == "processing"
    found = await evidence(admin, refund_id)
    assert (found.row["needs_review"], found.row["failure_code"]) == (True, "amount_mismatch")
    assert await sandbox.moved(payment_id) == [("charge", 1_000), ("refund", 200)]
    assert await sums(admin, payment_id) == ("completed", 300, 0)


@pytest.mark.parametrize(("currency", "amount", "part"), [("JPY", 1_000, 333), ("USD", 1_999, 667), ("KWD", 12_345, 1)])
async def test_provider_moves_exactly_the_refunded_amount(
    refunds: RefundMaker, sandbox: Sandbox, admin: Admin, currency: str, amount: int, part: int
) -> None:
    payment_id = await refunds.paid(QR, amount=amount, currency=currency, tip_amount=7)
    for wanted in (part, None):
        refund_id = await refunds.pending(payment_id, wanted)
        assert await ended(refunds, admin, refund_id) == "completed"
    answer = await sandbox.call("GET", f"/control/ledger/{payment_id}")
    assert [(row["kind"], row["amount"], row["currency"]) for row in answer.body["data"]] == [
        ("charge", amount + 7, currency),
        ("refund", part, currency),
        ("refund", amount + 7 - part, currency),
    ]
    assert await sums(admin, payment_id) == ("refunded", amount + 7, amount + 7)
