"""The metrics page follows Prometheus's naming conventions, keeps its series, and its counters equal the rows."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg.rows import DictRow

from api.prometheus import SHOWN_FAILURES
from tests.factories import CASH, TERMINAL, Tenant
from tests.fakes import FakeProvider
from tests.harness import ROOT, Api
from tests.integration.refunds.refund_helpers import RefundMaker
from workflows.database import metrics_buffer
from workflows.database.engines import Role, transaction
from workflows.database.metrics_buffer import FAILURES, PROCESS_COUNTS, CountDelta, count_final_rows
from workflows.ops.liveness import forget_worker, note_worker
from workflows.ops.metrics_store import TotalsWriter, read_totals
from workflows.payments.cancel import cancel_payment
from workflows.providers.base import Declined, FailureCode, Succeeded, Unavailable, Unknown
from workflows.refunds.workload import PAYMENTS

Admin = psycopg.AsyncConnection[DictRow]
Series = tuple[str, tuple[tuple[str, str], ...]]

UNITS = ("_seconds", "_minor_units", "_total", "_messages")
COUNTS = {"open", "overdue", "needs_review", "in_doubt", "needs_action", "dead_letters", "days_waiting", "settlements"}
"""Gauges without a unit in their name, because they count what the name says."""
COUNTS |= {
    "breaks_open",
    "invariant_violations",
    "invariant_rules_broken",
    "invariant_rules_unfinished",
    "months_ahead",
}
LABELS = {"entity", "status", "provider", "currency", "method", "failure_code", "operation", "outcome", "kind", "task"}
LABELS |= {"invariant", "rule", "reason", "queue", "worker", "le"}
"""All allowed labels. None contains a tenant, a payment or a request id."""


async def families(api: Api) -> list[Any]:
    """Return the metric families of the page."""
    answer = await api.get("//metrics")
    assert answer.status == 200, answer.raw
    return list(text_string_to_metric_families(answer.raw.decode()))


async def samples(api: Api) -> dict[Series, float]:
    """Return the page's samples by name and labels; fail if a sample occurs twice, as Prometheus does."""
    found = [sample for family in await families(api) for sample in family.samples]
    named = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in found}
    assert len(named) == len(found)
    return named


async def more(api: Api, before: dict[Series, float], name: str) -> dict[tuple[str, ...], float]:
    """Return the increase of a metric since ``before``, by label values in the order of the label names."""
    after = await samples(api)
    grown = {key: value - before.get(key, 0.0) for key, value in after.items() if key[0] == f"mpac_{name}"}
    return {tuple(value for _, value in key[1]): round(value, 9) for key, value in grown.items() if value}


async def test_names_units_types_and_labels_follow_the_conventions(api: Api, refunds: RefundMaker) -> None:
    await refunds.refunded(await refunds.paid())
    found = await families(api)
    assert len(found) > 30
    for family in found:
        assert family.documentation, family.name
        assert family.type in {"gauge", "counter", "histogram"}, family.name
        assert re.fullmatch(r"mpac_[a-z]+(_[a-z]+)*", family.name), family.name
        bare = family.name.removeprefix("mpac_")
        if family.type == "gauge":
            assert bare in COUNTS or family.name.endswith(UNITS[:2]) or bare == "queue_messages", family.name
        if family.type == "histogram":
            assert family.name.endswith("_seconds"), family.name
        for sample in family.samples:
            assert sample.labels.keys() <= LABELS, sample
            assert (family.type == "counter") == sample.name.endswith("_total"), sample
            assert ("amount" in sample.name) == sample.name.endswith("_amount_minor_units"), sample
            assert "amount" not in sample.name or "currency" in sample.labels


async def test_every_metric_of_the_runbook_is_on_the_page(api: Api, refunds: RefundMaker) -> None:
    await refunds.refunded(await refunds.paid())
    await note_worker("worker@here", ["payments"], heard_seconds_ago=1.0, is_new=True)
    found = await families(api)
    names = {family.name for family in found} | {sample.name for family in found for sample in family.samples}
    section = (ROOT / "docs" / "operations.md").read_text().partition("## Alerts")[2].partition("\n## ")[0]
    alerted = set(re.findall(r"mpac_\w+", section))
    assert len(alerted) > 15
    assert alerted <= names | {"mpac_sweeps_found_total"}, "which no sweep has counted yet"
    await forget_worker("worker@here")


async def test_the_metrics_page_contains_no_ids_and_no_card_data(
    api: Api, refunds: RefundMaker, provider: FakeProvider
) -> None:
    provider.charges.append(Declined("4111111111111111 pay_0198c0de", "no"))
    await refunds.paid()
    page = (await api.get("//metrics")).raw.decode()
    assert not re.search(r"[a-z]{3}_[0-9a-f]{32}|[^.\d]\d{13}|pay_[0-9]", page)
    assert 'failure_code="other"' in page


async def test_series_without_current_rows_show_zero_instead_of_vanishing(
    api: Api, refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Unknown("no answer"))
    payment_id = await refunds.paid(amount=700, currency="CHF")
    labels = (("currency", "CHF"), ("entity", "payment"), ("provider", "sandbox"), ("status", "processing"))
    names = ("mpac_in_doubt", "mpac_in_doubt_amount_minor_units", "mpac_open", "mpac_open_amount_minor_units")
    during = await samples(api)
    assert [during[name, labels] for name in names] == [1, 700, 1, 700]
    provider.inquiries.append(Succeeded(700))
    await admin.execute("UPDATE payments SET due_at = now() - interval '1 second' WHERE id = %s", [payment_id])
    await refunds.payments.process(payment_id)
    after = await samples(api)
    assert [after[name, labels] for name in names] == [0, 0, 0, 0]
    assert during.keys() <= after.keys()


async def test_every_possible_series_is_shown_before_its_first_event(api: Api, tenant: Tenant) -> None:
    found = await samples(api)
    for entity in ("payment", "refund"):
        for provider in ("sandbox", "cash", "external"):
            of_rows = (("currency", "JPY"), ("entity", entity), ("provider", provider), ("status", "pending"))
            assert ("mpac_in_doubt_amount_minor_units", of_rows) in found
    for outcome in ("succeeded", "unknown", "unavailable"):
        labels = (("operation", "charge"), ("outcome", outcome), ("provider", "sandbox"))
        assert ("mpac_provider_calls_total", labels) in found
    for queue in ("payments", "sweeps"):
        assert ("mpac_queue_silent_seconds", (("queue", queue),)) in found
        assert ("mpac_queue_messages", (("queue", queue),)) in found


async def test_outcomes_are_counted_once_by_method_provider_and_failure(
    api: Api, refunds: RefundMaker, provider: FakeProvider, tenant: Tenant
) -> None:
    before = await samples(api)
    await refunds.paid(CASH)
    provider.charges += [Declined("insufficient_funds"), Declined("a word of its own"), Succeeded(1_000)]
    for _ in range(3):
        await refunds.paid()
    cancelled = await refunds.payments.pending()
    for _ in range(2):  # the cashier taps twice
        await cancel_payment(
            cancelled, caller=tenant.device, reason=None, on_too_late=None, request_id="r", payments=PAYMENTS
        )
    reported = await refunds.payments.pending(TERMINAL)
    await cancel_payment(
        reported, caller=tenant.device, reason=None, on_too_late=None, request_id="r", payments=PAYMENTS
    )
    await refunds.refunded(await refunds.paid(), 100)
    provider.refunds.append(Declined("exceeds_captured"))
    await refunds.refunded(await refunds.paid(), 100)
    assert await more(api, before, "payments_final_total") == {
        ("", "cash", "cash", "completed"): 1,
        ("", "qr", "sandbox", "completed"): 3,
        ("insufficient_funds", "qr", "sandbox", "failed"): 1,
        ("other", "qr", "sandbox", "failed"): 1,
        ("", "qr", "sandbox", "cancelled"): 1,
        ("", TERMINAL.method_type, "external", "completed"): 1,
    }
    assert await more(api, before, "refunds_final_total") == {
        ("", "qr", "sandbox", "completed"): 1,
        ("exceeds_captured", "qr", "sandbox", "failed"): 1,
    }
    assert (await more(api, before, "payment_final_seconds_count"))["qr", "sandbox", "completed"] == 3


async def test_calls_are_counted_by_operation_and_outcome_and_what_is_sent_again_as_a_retry(
    api: Api, refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    before = await samples(api)
    provider.charges += [Unavailable("busy"), Unknown("no answer")]
    payment_id = await refunds.paid()
    for _ in range(2):
        await admin.execute("UPDATE payments SET due_at = now() - interval '1 second' WHERE id = %s", [payment_id])
        provider.inquiries.append(Succeeded(1_000))
        await refunds.payments.process(payment_id)
    assert await more(api, before, "provider_calls_total") == {
        ("charge", "unavailable", "sandbox"): 1,
        ("charge", "unknown", "sandbox"): 1,
        ("inquire", "succeeded", "sandbox"): 1,
    }
    assert await more(api, before, "retries_total") == {("payment", "retry", "sandbox"): 1}
    assert await more(api, before, "provider_call_seconds_count") == {
        ("charge", "sandbox"): 2,
        ("inquire", "sandbox"): 1,
    }


async def test_outcome_that_is_rolled_back_is_not_counted(engines: None) -> None:
    before = dict(PROCESS_COUNTS.counts)

    async def fail() -> None:
        async with transaction(Role.WORKER) as connection:
            facts = {"method": "qr", "provider": "sandbox", "status": "failed", "code": None}
            metrics_buffer.note_final(connection, "payment", **facts, seconds=1)  # type: ignore[arg-type]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert before == PROCESS_COUNTS.counts
    assert not metrics_buffer._uncommitted


@pytest.fixture
async def nothing_counted(engines: None) -> AsyncIterator[None]:
    """Discard counts of other tests."""
    aside, PROCESS_COUNTS.counts = PROCESS_COUNTS.counts, {}
    yield
    for (name, labels, part), value in aside.items():
        PROCESS_COUNTS.add(name, labels, value, part)


async def test_an_addition_whose_commit_was_in_doubt_counts_once(nothing_counted: None, admin: Admin) -> None:
    async def total() -> float:
        labels = ("GET", "299")
        return sum(one.value for one in await read_totals(Role.ACCEPT) if one[:2] == ("http_requests", labels))

    totals_writer, before = TotalsWriter(Role.ACCEPT), await total()
    PROCESS_COUNTS.add("http_requests", ("GET", "299"), 3)
    await totals_writer.add()
    assert await total() == before + 3
    totals_writer._pending = [
        CountDelta("http_requests", ("GET", "299"), "", 3)
    ]  # the answer to the COMMIT was lost, so the addition is tried again
    await totals_writer.add()
    assert await total() == before + 3
    PROCESS_COUNTS.add("http_requests", ("GET", "299"))
    await totals_writer.add()
    assert await total() == before + 4


async def test_processes_add_to_the_same_totals_and_none_waits_for_another(nothing_counted: None) -> None:
    before = Counter({one[:3]: one.value for one in await read_totals(Role.ACCEPT)})
    several = [TotalsWriter(role) for role in (Role.ACCEPT, Role.WORKER, Role.WORKER)]
    for _ in range(20):
        for each in several:
            count_final_rows([("payment", "qr", "sandbox", status, "", 0.2) for status in ("completed", "cancelled")])
            each._pending, each._number = PROCESS_COUNTS.pop(), each._number + 1
        await asyncio.gather(*(each.add() for each in several))
    after = Counter({one[:3]: one.value for one in await read_totals(Role.ACCEPT)})
    grown = {key: after[key] - before[key] for key in after if after[key] != before[key]}
    assert grown["payments_final", ("qr", "sandbox", "completed", ""), ""] == 60
    assert grown["payment_final_seconds", ("qr", "sandbox", "cancelled"), "0.25"] == 60
    assert grown["payment_final_seconds", ("qr", "sandbox", "cancelled"), "sum"] == pytest.approx(12)


def test_failure_labels_are_a_bounded_set_of_known_codes() -> None:
    assert {*map(str, FailureCode), "insufficient_funds"} <= FAILURES
    assert {*SHOWN_FAILURES} <= {*FAILURES, metrics_buffer.OTHER_FAILURE}
    assert len(FAILURES) < 40
