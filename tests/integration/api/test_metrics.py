"""Metrics count rows that wait for a person, count refunds like payments, and scan no whole table."""

import re
from collections import Counter
from typing import Any

import psycopg
from prometheus_client.parser import text_string_to_metric_families
from psycopg.rows import DictRow
from sqlalchemy import text

from tests.factories import time_passes
from tests.fakes import FakeProvider
from tests.harness import Api
from tests.integration.refunds import refund_helpers
from tests.integration.refunds.refund_helpers import RefundMaker
from tests.plan_names import without_first_months
from workflows.database.engines import Role, transaction
from workflows.ops import count_open_rows
from workflows.processing.leases import MAX_UNANSWERED_CLAIMS
from workflows.providers.base import Succeeded, Unknown
from workflows.refunds.workload import PAYMENTS

Admin = psycopg.AsyncConnection[DictRow]
LEASE_SECONDS = 30


async def gauges(api: Api, currency: str = "JPY") -> Counter[tuple[str, ...]]:
    """Return each metric's sum over statuses and providers, by name and entity.

    Fail if a sample occurs twice.
    """
    page = (await api.get("//metrics")).raw.decode()
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    named = [(sample.name, *sorted(sample.labels.items())) for sample in samples]
    assert len(set(named)) == len(named)
    found: Counter[tuple[str, ...]] = Counter()
    for sample in samples:
        if "entity" in sample.labels and sample.labels.get("currency") == currency:
            found[sample.name.removeprefix("mpac_"), sample.labels["entity"]] += int(sample.value)
    return found


async def quarantined(refunds: RefundMaker, admin: Admin) -> str:
    """Create a payment that is quarantined because every worker crashed while processing it."""
    payment_id = await refunds.payments.pending(amount=7_000)
    for _ in range(MAX_UNANSWERED_CLAIMS + 1):
        await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=LEASE_SECONDS)
        await time_passes(admin, payment_id, seconds=LEASE_SECONDS + 1)
    return payment_id


async def test_payments_that_wait_for_a_person_count_as_in_doubt_in_the_metrics(
    api: Api, refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    before = await gauges(api)
    await quarantined(refunds, admin)
    provider.charges.append(Succeeded(999))
    await refunds.payments.process(await refunds.payments.pending(amount=1_000))  # gets a wrong amount
    provider.charges.append(Unknown("no answer"))
    await refunds.payments.process(
        await refunds.payments.pending(amount=300)
    )  # a payment that is merely due for an inquiry
    await refunds.payments.pending(amount=40)
    more = await gauges(api) - before
    assert (more["in_doubt", "payment"], more["in_doubt_amount_minor_units", "payment"]) == (3, 8_300)
    assert (more["needs_review", "payment"], more["open", "payment"]) == (2, 4)
    assert (await gauges(api))["in_doubt_oldest_seconds", "payment"] >= LEASE_SECONDS


async def test_refunds_in_doubt_are_counted_beside_the_payments(
    api: Api, refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    before = await gauges(api)
    payment_id = await refunds.paid(amount=1_000)
    provider.refunds.append(Unknown("no answer"))
    refund_id = await refunds.refunded(payment_id, 600)
    await refunds.pending(payment_id, 10)
    await refund_helpers.time_passes(admin, refund_id, seconds=90)
    after = await gauges(api)
    more = after - before
    assert (more["in_doubt", "refund"], more["in_doubt_amount_minor_units", "refund"], more["open", "refund"]) == (
        1,
        600,
        2,
    )
    assert more["in_doubt", "payment"] == 0
    assert more["overdue", "refund"] >= 1  # refunds of other tests may become overdue at any time
    assert after["in_doubt_oldest_seconds", "refund"] >= 90


async def test_amounts_of_two_currencies_are_never_added(
    api: Api, refunds: RefundMaker, provider: FakeProvider
) -> None:
    before = {currency: await gauges(api, currency) for currency in ("JPY", "USD")}
    for currency, amount in (("JPY", 700), ("USD", 500)):
        payment_id = await refunds.paid(amount=amount, currency=currency)
        provider.charges.append(Unknown("no answer"))
        await refunds.payments.process(await refunds.payments.pending(amount=amount, currency=currency))
        provider.refunds.append(Unknown("no answer"))
        await refunds.refunded(payment_id, amount // 10)
    for currency, amount in (("JPY", 700), ("USD", 500)):
        more = await gauges(api, currency) - before[currency]
        sums = [more["in_doubt_amount_minor_units", entity] for entity in ("payment", "refund")]
        assert sums == [amount, amount // 10]
        assert [more["in_doubt", entity] for entity in ("payment", "refund")] == [1, 1]


async def test_the_overview_reads_indexes_and_not_the_tables(engines: None) -> None:
    async with transaction(Role.ACCEPT) as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan: Any = (await connection.execute(text(f"EXPLAIN {count_open_rows._OPEN.text}"))).scalars().all()
    said = without_first_months("\n".join(plan))
    assert "Seq Scan" not in said
    for index in ("pkey", "in_doubt", "in_review"):
        assert {f"payments_{index}", f"refunds_{index}"} <= set(re.findall(r"\w+", said))
    assert {"due_payments", "due_refunds"} <= set(re.findall(r"\w+", said)), "what is listed there is found by its key"


async def test_a_completed_payment_in_review_is_counted_and_is_not_open(
    api: Api, refunds: RefundMaker, admin: Admin
) -> None:
    payment_id = await refunds.paid(amount=1_000)
    before = await gauges(api)
    await admin.execute("UPDATE payments SET needs_review = true WHERE id = %s", [payment_id])
    more = await gauges(api) - before
    assert (more["needs_review", "payment"], more["open", "payment"], more["in_doubt", "payment"]) == (1, 0, 0)
