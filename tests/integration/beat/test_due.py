"""One column holds the time at which a row is due for any reason, and a final payment is never due."""

from dataclasses import replace
from typing import Any

import pytest

from tests.factories import CASH, QR, TERMINAL, PaymentMaker, time_passes
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, all_of
from workflows.ops.housekeeping import forget_expired
from workflows.ops.liveness import find_silent_queues, note_consumed, note_sent
from workflows.processing.due import find_due_payments
from workflows.providers.base import ActionRequired, Unavailable, Unknown
from workflows.refunds.workload import PAYMENTS
from workflows.settings import Settings

ALL = 100_000
LATER = Unavailable("503", retry_after_seconds=60)
SLOWER = 30.0
"""Settings with an inquiry delay of a minute, so that a payment is not due yet when a busy machine checks."""

CODE = {"type": "display_qr", "qr_content": "q", "expires_at": "2026-11-23T09:05:00Z"}


async def why(payment_id: str) -> str | None:
    """Return the reason why the payment is due, or ``None`` if it is not."""
    return next((due.why for due in await find_due_payments(limit=ALL) if due.id == payment_id), None)


async def test_a_new_payment_is_due_once_its_nudge_is_overdue(payments: PaymentMaker, admin: Admin) -> None:
    payment_id = await payments.pending()
    assert await why(payment_id) is None
    await time_passes(admin, payment_id, seconds=6)
    assert await why(payment_id) == "lost_nudge"
    await time_passes(admin, payment_id, seconds=300)
    assert await why(payment_id) == "expired"


async def test_a_claimed_payment_is_due_when_its_lease_has_run_out(payments: PaymentMaker, admin: Admin) -> None:
    payment_id = await payments.pending()
    await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=30)
    assert await why(payment_id) is None
    await time_passes(admin, payment_id, seconds=31)
    assert await why(payment_id) == "run_out_lease"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(LATER, "retry"), (Unknown("?"), "inquiry"), (ActionRequired(CODE), "poll")],
    ids=["retry", "inquiry", "poll"],
)
async def test_a_payment_is_due_again_when_its_time_has_come(
    settings: Settings,
    payments: PaymentMaker,
    provider: FakeProvider,
    admin: Admin,
    answer: Unavailable | Unknown,
    reason: str,
) -> None:
    payments.processor._settings = settings.model_copy(update={"doubt_schedule_scale": SLOWER})
    provider.charges.append(answer)
    payment_id = await payments.pending()
    await payments.process(payment_id)
    assert await why(payment_id) is None
    await time_passes(admin, payment_id, seconds=100)
    assert await why(payment_id) == reason


async def test_a_final_payment_is_never_due(payments: PaymentMaker, admin: Admin) -> None:
    ids = [
        await payments.pending(request)
        for request in (CASH, replace(TERMINAL, facts={"external_result": "declined"}), QR)
    ]
    await payments.cancel(ids[2])
    await payments.process(*ids)
    for payment_id in ids:
        await time_passes(admin, payment_id, seconds=100_000)
        assert await why(payment_id) is None


async def test_the_longest_overdue_come_first_and_a_page_has_its_limit(payments: PaymentMaker, admin: Admin) -> None:
    ids = [await payments.pending() for _ in range(3)]
    for payment_id, seconds in zip(ids, (200, 250, 150), strict=True):
        await time_passes(admin, payment_id, seconds=seconds)
    found = [due.id for due in await find_due_payments(limit=ALL) if due.id in ids]
    assert found == [ids[1], ids[0], ids[2]]
    page = [due.id for due in await find_due_payments(limit=1) if due.id in ids]
    assert page in ([], [ids[1]])  # one row per provider; this one may belong to another test


async def listed(admin: Admin, payment_id: str) -> list[dict[str, Any]]:
    """Return the row of the narrow table, with whether the payment is due no earlier than it says."""
    return await all_of(
        admin,
        b"SELECT d.due_at, d.due_at <= p.due_at AS is_bound FROM due_payments d JOIN payments p ON p.id = d.id"
        b" WHERE d.id = %s",
        payment_id,
    )


async def test_a_payment_is_listed_from_its_accept_until_it_is_final(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(LATER)
    payment_id = await payments.pending()
    accepted = await listed(admin, payment_id)
    await payments.process(payment_id)
    waiting = await listed(admin, payment_id)
    assert [row["is_bound"] for row in accepted + waiting] == [True, True]
    await time_passes(admin, payment_id, seconds=100)
    assert (await listed(admin, payment_id))[0]["due_at"] < waiting[0]["due_at"], "it became due earlier"
    await payments.process(payment_id)
    assert await listed(admin, payment_id) == []


async def test_claimed_rows_do_not_hide_due_ones(payments: PaymentMaker, admin: Admin) -> None:
    claimed, due = await payments.pending(), await payments.pending()
    await time_passes(admin, claimed, seconds=200)
    await PAYMENTS.claim([claimed], worker="works", lease_seconds=30)
    await time_passes(admin, due, seconds=100)
    found = {row.id for row in await find_due_payments(limit=ALL)}
    assert (claimed in found, due in found) == (False, True)


async def test_a_row_that_another_release_writes_is_listed(payments: PaymentMaker, admin: Admin) -> None:
    """A previous release names no narrow table in its statements, which are these in short."""
    payment_id = await payments.pending()
    await admin.execute("DELETE FROM due_payments WHERE id = %s", [payment_id])
    assert await why(payment_id) is None
    await admin.execute("UPDATE payments SET due_at = now() - interval '1 s' WHERE id = %s", [payment_id])
    assert await why(payment_id) == "lost_nudge"


async def test_only_expired_idempotency_keys_are_deleted(payments: PaymentMaker, admin: Admin) -> None:
    old, young = await payments.pending(), await payments.pending()
    await admin.execute("UPDATE idempotency_records SET expires_at = now() WHERE resource_id = %s", [old])
    await forget_expired()
    left = await all_of(admin, b"SELECT resource_id FROM idempotency_records WHERE resource_id IN (%s, %s)", old, young)
    assert [row["resource_id"] for row in left] == [young]


async def test_expired_rows_are_deleted_in_pieces(payments: PaymentMaker, admin: Admin) -> None:
    ids = [await payments.pending() for _ in range(5)]
    await admin.execute("UPDATE idempotency_records SET expires_at = now() WHERE resource_id = ANY(%s)", [ids])
    assert await forget_expired(limit=2, longest_seconds=0) <= 4, "one page of each table, when the time is over"


async def test_a_single_call_deletes_all_expired_rows(engines: None, admin: Admin) -> None:
    await admin.execute("""
        INSERT INTO idempotency_records
            (merchant_id, method, path, key, fingerprint, status, body, created_at, expires_at)
        SELECT 'mer_many', 'POST', '/', n::text, '', 201, '', now(), now() - interval '1 s' FROM generate_series(1, 5000) n
    """)
    await admin.execute("""
        INSERT INTO used_assertions SELECT 'dev_many', n::text, now() - interval '1 s' FROM generate_series(1, 5000) n
    """)
    assert await forget_expired() >= 10_000
    left = await all_of(
        admin,
        b"""SELECT (SELECT count(*) FROM idempotency_records WHERE merchant_id = 'mer_many')
                 + (SELECT count(*) FROM used_assertions WHERE client_id = 'dev_many') AS count""",
    )
    assert left[0]["count"] == 0


async def test_only_a_queue_without_consumers_is_silent(engines: None, admin: Admin) -> None:
    await note_sent(["deaf", "well"])
    await note_consumed("well", worker="w")
    await admin.execute("UPDATE canaries SET sent_at = sent_at - interval '2 min' WHERE queue IN ('deaf', 'well')")
    silent = {found.queue: found.seconds for found in await find_silent_queues(limit_seconds=60)}
    assert silent["deaf"] == pytest.approx(120, abs=5)
    assert "well" not in silent
    await note_sent(["deaf"])
    await note_consumed("deaf", worker="w")
    assert "deaf" not in {found.queue for found in await find_silent_queues(limit_seconds=60)}
    await admin.execute("DELETE FROM canaries WHERE queue IN ('deaf', 'well')")


async def test_a_queue_that_is_no_longer_consumed_is_silent(engines: None, admin: Admin) -> None:
    await note_sent(["once"])
    await note_consumed("once", worker="w")
    await note_sent(["once"])
    await admin.execute(
        "UPDATE canaries SET consumed_at = now() - interval '3 min', sent_at = now() - interval '2 min' WHERE queue = 'once'"
    )
    await note_sent(["once"])  # as beat does every few seconds
    assert "once" in {found.queue for found in await find_silent_queues(limit_seconds=60)}
    await admin.execute("DELETE FROM canaries WHERE queue = 'once'")


async def test_a_queue_that_was_never_consumed_is_silent_despite_new_canaries(engines: None, admin: Admin) -> None:
    await note_sent(["orphan"])
    await admin.execute("UPDATE canaries SET sent_at = sent_at - interval '2 min' WHERE queue = 'orphan'")
    await note_sent(["orphan"])
    assert "orphan" in {found.queue for found in await find_silent_queues(limit_seconds=60)}
    await admin.execute("DELETE FROM canaries WHERE queue = 'orphan'")


async def test_a_pause_of_beat_makes_no_queue_silent(engines: None, admin: Admin) -> None:
    await note_sent(["rested"])
    await note_consumed("rested", worker="w")
    await admin.execute(
        "UPDATE canaries SET sent_at = sent_at - interval '5 h', consumed_at = consumed_at - interval '5 h'"
        " WHERE queue = 'rested'"
    )
    assert "rested" not in {found.queue for found in await find_silent_queues(limit_seconds=60)}
    await note_sent(["rested"])
    assert "rested" not in {found.queue for found in await find_silent_queues(limit_seconds=60)}
    await admin.execute("DELETE FROM canaries WHERE queue = 'rested'")
