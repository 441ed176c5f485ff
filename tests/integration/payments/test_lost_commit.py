"""If the answer to a claim is lost, the worker continues only if the claim took effect (F8)."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from tests.factories import CASH, QR, PaymentMaker, time_passes
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, evidence
from tests.integration.payments.lost_commit import Wire, wire_to
from tests.integration.refunds.refund_helpers import RefundMaker
from tests.integration.refunds.refund_helpers import evidence as refund_evidence
from workflows.database import engines as database
from workflows.database.engines import Role, connect
from workflows.database.metrics_buffer import PROCESS_COUNTS
from workflows.errors import ServiceUnavailable
from workflows.payments.queries import payment_fields
from workflows.processing.executor import LeaseExecutor
from workflows.processing.lost_answers import find_started
from workflows.providers.base import Charge
from workflows.refunds.workload import PAYMENTS
from workflows.settings import Settings


@pytest.fixture
async def wire(settings: Settings, engines: None) -> AsyncIterator[Wire]:
    """Route the workers' connections through a proxy, and yield the proxy.

    The proxy can lose the answer to a COMMIT.
    """
    usual = database._engines
    async with wire_to(settings.database_url.get_secret_value()) as (wire, url):
        database._engines = database._Engines()
        database._engines.by_role, database._engines.long = {**usual.by_role}, {**usual.long}
        connect(settings.model_copy(update={"database_url": SecretStr(url)}), roles=(Role.WORKER,))
        database._engines.hot = {**usual.hot, Role.WORKER: database._engines.hot[Role.WORKER]}
        database._engines.url = usual.url
        behind = (database._engines.by_role[Role.WORKER], database._engines.long[Role.WORKER])
        hot = database._engines.hot[Role.WORKER]
        try:
            yield wire
        finally:
            database._engines = usual
            for engine in behind:
                await engine.dispose()
            await hot.close()


@pytest.mark.parametrize("request_", [QR, CASH], ids=["provider", "cash"])
async def test_claim_whose_commit_took_effect_without_an_answer_continues(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, wire: Wire, request_: object
) -> None:
    payment_id = await payments.pending(request_)  # type: ignore[arg-type]
    wire.loses = 1
    await payments.process(payment_id)
    assert wire.cut == 1
    found = await evidence(admin, payment_id)
    assert (found.status, found.events) == ("completed", ["create", "claim", "complete"])
    assert [kind for kind, _ in provider.calls] == (["charge"] if request_ is QR else [])


async def test_a_payment_shows_no_advice_while_its_claim_is_looked_up(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, wire: Wire
) -> None:
    payment_id = await payments.pending()
    provider.hold()
    wire.loses = 1
    working = payments.processor._start(payments.processor.process([payment_id]))
    await provider.heard.wait()
    assert payment_fields((await evidence(admin, payment_id)).row)["advice"] is None
    provider.release()
    await working


async def test_a_claim_that_did_not_take_effect_leaves_the_payment_as_it_was(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, wire: Wire
) -> None:
    payment_id = await payments.pending()
    wire.loses, wire.arrives = 1, False
    with pytest.raises(ServiceUnavailable):
        await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).events == ["create"]
    assert provider.calls == []
    await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).status == "completed"
    assert provider.calls == [("charge", f"{payment_id}:1")]


@pytest.mark.parametrize("commits", [2, 3])
async def test_lost_answers_in_a_row_charge_once(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, wire: Wire, commits: int
) -> None:
    payment_id = await payments.pending()
    wire.loses = commits  # for the claim, for the check whether it took effect, and for the record
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.events) == ("completed", ["create", "claim", "complete"])
    assert provider.calls == [("charge", f"{payment_id}:1")]


def count_final(entity: str) -> list[tuple[tuple[str, ...], float]]:
    """Return the final rows that were counted since the last call, by their labels."""
    return [(delta.labels, delta.value) for delta in PROCESS_COUNTS.pop() if delta.name == f"{entity}s_final"]


@pytest.mark.parametrize("request_", [QR, CASH], ids=["provider", "cash"])
async def test_a_record_whose_answer_was_lost_is_counted_and_not_logged_as_taken_over(
    payments: PaymentMaker, wire: Wire, caplog: pytest.LogCaptureFixture, admin: Admin, request_: Any
) -> None:
    payment_id = await payments.pending(request_)
    wire.loses, wire.skips = 1, 1  # the claim is answered
    PROCESS_COUNTS.pop()
    await payments.process(payment_id)
    assert wire.cut == 1
    [(labels, count)] = count_final("payment")
    assert (labels[2], count) == ("completed", 1)
    assert "taken over" not in caplog.text
    assert (await evidence(admin, payment_id)).status == "completed"


async def test_a_refund_whose_record_was_not_answered_is_counted_and_not_logged_as_taken_over(
    refunds: RefundMaker, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    refund_id = await refunds.pending(await refunds.paid(), 300)
    wire.loses, wire.skips = 1, 1  # the claim is answered
    PROCESS_COUNTS.pop()
    await refunds.process(refund_id)
    assert wire.cut == 1
    [(labels, count)] = count_final("refund")
    assert (labels[2], count) == ("completed", 1)
    assert "taken over" not in caplog.text


async def test_a_row_that_was_taken_over_while_its_record_was_retried_is_logged_as_taken_over(
    payments: PaymentMaker,
    other_worker: LeaseExecutor[Charge],
    admin: Admin,
    wire: Wire,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    payment_id = await payments.pending()
    pause = asyncio.sleep

    async def take_over(seconds: float) -> None:
        await time_passes(admin, payment_id, seconds=31)
        await other_worker.process([payment_id])
        PROCESS_COUNTS.pop()
        await pause(seconds)

    monkeypatch.setattr(
        "workflows.processing.recorder.asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": take_over})
    )
    wire.loses, wire.skips, wire.arrives = 1, 1, False
    await payments.process(payment_id)
    assert "taken over" in caplog.text
    assert count_final("payment") == []


async def test_claim_for_an_inquiry_continues_after_a_lost_commit_answer(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, wire: Wire
) -> None:
    payment_id = await payments.pending()
    await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=30)
    await time_passes(admin, payment_id, seconds=31)
    provider.moved[f"{payment_id}:1"] = 1_000
    wire.loses, wire.statements = 1, False
    await payments.process(payment_id)
    assert wire.cut == 1
    assert (await evidence(admin, payment_id)).status == "completed"
    assert provider.calls == [("inquire", f"{payment_id}:1")]


async def test_a_claim_that_was_taken_over_meanwhile_records_nothing(
    payments: PaymentMaker, other_worker: LeaseExecutor[Charge], provider: FakeProvider, admin: Admin, wire: Wire
) -> None:
    payment_id = await payments.pending()
    provider.hold()
    wire.loses = 1
    working = payments.processor._start(payments.processor.process([payment_id]))
    await provider.heard.wait()
    await time_passes(admin, payment_id, seconds=31)
    await other_worker.process([payment_id])
    before = await evidence(admin, payment_id)
    provider.release()
    await working
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["version"]) == ("completed", before.row["version"])
    assert [kind for kind, _ in provider.calls] == ["charge", "inquire"]


async def test_refund_whose_claim_was_not_answered_is_sent_once(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin, wire: Wire
) -> None:
    payment_id = await refunds.paid()
    refund_id = await refunds.pending(payment_id, 300)
    wire.loses = 1
    await refunds.process(refund_id)
    assert wire.cut == 1
    assert (await refund_evidence(admin, refund_id)).status == "completed"
    assert [kind for kind, _ in provider.calls] == ["charge", "refund"]


async def test_a_cancel_during_the_lookup_of_a_claim_is_seen_when_its_answer_is_recorded(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = await payments.pending()

    async def cancel_and_find(*lost: Any) -> Any:
        await payments.cancel(payment_id)
        return await find_started(*lost)

    monkeypatch.setattr("workflows.processing.leases.find_started", cancel_and_find)
    wire.loses = 1
    await payments.process(payment_id)
    assert provider.calls == [("charge", f"{payment_id}:1")]
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["cancel_outcome"]) == ("completed", "too_late")


async def test_a_claim_whose_answer_was_lost_is_not_mistaken_for_another_claim_of_the_same_worker(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, wire: Wire
) -> None:
    payment_id = await payments.pending()
    await PAYMENTS.claim([payment_id], worker="worker-of-the-test", lease_seconds=30)
    wire.loses = 1
    with pytest.raises(ServiceUnavailable):
        await payments.process(payment_id)
    assert provider.calls == []


async def test_started_payments_are_charged_although_the_others_of_their_batch_could_not_be_resumed(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    resumable, pending = await payments.pending(), await payments.pending()
    await PAYMENTS.claim([resumable], worker="dies", lease_seconds=30)
    await time_passes(admin, resumable, seconds=31)
    wire.loses, wire.statements, wire.arrives = 1, False, False
    await payments.processor.process([resumable, pending])
    [record] = [record for record in caplog.records if getattr(record, "event", "") == "payment.not_resumed"]
    assert not record.exc_info  # the database was unavailable, which is no fault of the code
    assert provider.calls == [("charge", f"{pending}:1")]
    assert (await evidence(admin, pending)).status == "completed"
    assert (await evidence(admin, resumable)).status == "processing"


async def test_a_fault_that_kept_rows_from_being_resumed_is_logged_with_its_traceback(
    payments: PaymentMaker,
    provider: FakeProvider,
    admin: Admin,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: Any) -> Any:
        raise LookupError("a bug in resuming")

    monkeypatch.setattr(type(PAYMENTS), "_resume_others", fail)
    resumable, pending = await payments.pending(), await payments.pending()
    await PAYMENTS.claim([resumable], worker="dies", lease_seconds=30)
    await time_passes(admin, resumable, seconds=31)
    await payments.processor.process([resumable, pending])
    assert provider.calls == [("charge", f"{pending}:1")]
    [record] = [record for record in caplog.records if getattr(record, "event", "") == "payment.not_resumed"]
    assert record.exc_info
    assert isinstance(record.exc_info[1], LookupError)
