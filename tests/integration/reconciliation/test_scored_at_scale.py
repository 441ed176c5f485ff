"""The matcher finds all planted breaks and no others, and stays fast with many lines."""

import time
from collections import Counter
from datetime import timedelta

import psycopg
import pytest
from psycopg.rows import DictRow

from mpac.devtools.statement.inject_breaks import CHANGES, inject_breaks
from mpac.devtools.statement.lines import FileLine, SourceLine
from tests.conftest import MakeTenant
from tests.integration.reconciliation.test_matcher_against_reference import sql_classifications, tally
from tests.reconciliation_helpers import books_of, closed_settlement, manager, some_sales, upload
from tests.reference_matcher import Ours, Theirs, match
from workflows.clock import now
from workflows.reconciliation.reconcile import reconcile_settlement
from workflows.settings import Settings
from workflows.tenants.actor import Actor


def sales_with_twins(count: int, *, twins: int) -> list[Ours]:
    """Return sales old enough to be in a statement.

    ``twins`` of the sales have the provider reference of another sale.
    """
    lines = some_sales(count, at=(now() - timedelta(hours=30)).replace(microsecond=0))
    payments = [number for number, line in enumerate(lines) if line.kind == "payment"]
    for first, second in zip(payments[:twins], payments[-twins:], strict=True):
        twin = lines[second]
        lines[second] = Ours(
            twin.kind, twin.entity_id, twin.our_reference, lines[first].provider_reference, twin.amount, twin.fee,
            twin.occurred_at, twin.business_date,
        )  # fmt: skip
    return lines


def as_ours(line: Ours) -> SourceLine:
    names = (line.kind, line.entity_id, line.our_reference, line.provider_reference)
    return SourceLine(*names, line.amount, line.currency, line.fee, line.occurred_at)


def as_theirs(line: FileLine) -> Theirs:
    names = (line.kind, line.our_reference, line.provider_reference, line.amount, line.fee)
    return Theirs(*names, at=line.at, currency=line.currency)


async def score(
    admin: psycopg.AsyncConnection[DictRow], make_tenant: MakeTenant, *, size: int, each: int
) -> tuple[float, float]:
    """Return recall and precision for all planted breaks, after checking that both matchers agree."""
    tenant = await make_tenant()
    ours = sales_with_twins(size, twins=each)
    lines, truth = inject_breaks([as_ours(line) for line in ours], dict.fromkeys(CHANGES, each), seed=size)
    theirs = [as_theirs(line) for line in lines]
    settlement_id = await closed_settlement(admin, tenant, ours)
    statement = await upload(tenant, settlement_id, theirs)
    books = books_of(ours, theirs)
    found, summary = await sql_classifications(settlement_id, statement["id"], books)
    assert tally(found) == tally(match(books))
    breaks = Counter(
        (verdict.category, line.our_reference)
        for verdict in found
        if verdict.category != "matched" and (line := verdict.ours or verdict.theirs)
    )
    planted = Counter((one.category, one.our_reference) for one in truth)
    hits = (breaks & planted).total()
    assert summary["categories"]["matched"]["count"] > 0
    return hits / planted.total(), hits / breaks.total()


async def test_every_planted_break_is_found_and_no_other(
    admin: psycopg.AsyncConnection[DictRow], make_tenant: MakeTenant
) -> None:
    assert await score(admin, make_tenant, size=2_000, each=10) == (1.0, 1.0)


@pytest.mark.long
async def test_a_hundred_thousand_lines_with_a_hundred_breaks_of_each_kind(
    admin: psycopg.AsyncConnection[DictRow], make_tenant: MakeTenant
) -> None:
    assert await score(admin, make_tenant, size=100_000, each=100) == (1.0, 1.0)


@pytest.mark.long
async def test_a_run_over_a_hundred_thousand_lines_takes_seconds(
    admin: psycopg.AsyncConnection[DictRow], make_tenant: MakeTenant, settings: Settings
) -> None:
    tenant = await make_tenant()
    ours = sales_with_twins(100_000, twins=1)
    lines, _ = inject_breaks([as_ours(line) for line in ours], {"amount_mismatch": 10}, seed=1)
    settlement_id = await closed_settlement(admin, tenant, ours)
    await upload(tenant, settlement_id, [as_theirs(line) for line in lines])
    started = time.perf_counter()
    run = await reconcile_settlement(settlement_id, actor=Actor(manager(tenant)), settings=settings)
    assert run["open_breaks"] == 10
    assert time.perf_counter() - started < 30
