"""After PostgreSQL's clock was set back by an hour, nothing waits for that hour, and histories stay in version order."""

from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from mpac.stack.local_stack import LocalStack
from mpac.stack.movable_clock import prepare_movable_clock
from tests.factories import CASH, PaymentMaker
from tests.fakes import FakeProvider
from tests.harness import migrate
from tests.integration.payments.evidence import Admin, evidence
from tests.integration.refunds.refund_helpers import RefundMaker
from tests.integration.refunds.refund_helpers import evidence as refund_evidence
from workflows.database import engines as database
from workflows.database.engines import connect
from workflows.payments.queries import read_timeline
from workflows.processing.due import find_payments_ahead, find_refunds_ahead
from workflows.providers.base import Succeeded, Unavailable, Unknown
from workflows.refunds.workload import PAYMENTS
from workflows.settings import Settings

HOUR = 3_600
ALL = 10_000


@pytest.fixture(scope="module")
async def movable(stack: LocalStack) -> str:
    """Return the URL of a database whose clock can be moved."""
    name = "set_back"
    await prepare_movable_clock(stack.urls.database, name=name)
    url = make_url(stack.urls.database).set(database=name).render_as_string(hide_password=False)
    await migrate(url)
    return url


@pytest.fixture
async def engines(settings: Settings, movable: str) -> AsyncIterator[None]:
    """Connect every role to the database ``movable``, and restore the usual engines afterwards."""
    usual, database._engines = database._engines, database._Engines()
    connect(settings.model_copy(update={"database_url": SecretStr(movable)}))
    yield
    await database.disconnect()
    database._engines = usual


@pytest.fixture
async def admin(movable: str) -> AsyncIterator[Admin]:
    """Yield a connection as the owner of the database ``movable``, whose clock is an hour fast."""
    async with await psycopg.AsyncConnection.connect(movable, autocommit=True, row_factory=dict_row) as connection:
        await set_clock(connection, HOUR)
        yield connection


async def set_clock(admin: Admin, ahead_seconds: float) -> None:
    await admin.execute("UPDATE movable_clock.moved SET ahead = make_interval(secs => %s)", [ahead_seconds])


async def ahead(settings: Settings) -> set[str]:
    return {due.id for due in await find_payments_ahead(limit=ALL, settings=settings)}


async def process_rows_ahead(payments: PaymentMaker, settings: Settings, *payment_ids: str) -> None:
    """Check that ``find_payments_ahead`` finds these payments, and process them.

    It finds payments that are due later than any schedule sets.
    """
    assert set(payment_ids) <= await ahead(settings)
    await payments.process(*payment_ids)


async def test_new_payment_is_claimed_after_the_clock_was_set_back(
    payments: PaymentMaker, settings: Settings, admin: Admin, provider: FakeProvider
) -> None:
    sold, cash = await payments.pending(), await payments.pending(CASH)
    await set_clock(admin, 0)
    await process_rows_ahead(payments, settings, sold, cash)
    assert {(await evidence(admin, payment_id)).status for payment_id in (sold, cash)} == {"completed"}
    assert provider.calls == [("charge", f"{sold}:1")]


async def test_payment_of_a_dead_worker_is_inquired_about_after_the_clock_was_set_back(
    payments: PaymentMaker, settings: Settings, admin: Admin, provider: FakeProvider
) -> None:
    payment_id = await payments.pending()
    await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=settings.lease_seconds)
    provider.moved[f"{payment_id}:1"] = 1_000
    await set_clock(admin, 0)
    await process_rows_ahead(payments, settings, payment_id)
    assert (await evidence(admin, payment_id)).status == "completed"
    assert provider.calls == [("inquire", f"{payment_id}:1")]


@pytest.mark.parametrize("answer", [Unknown("read time-out"), Unavailable("503")], ids=["doubt", "retry"])
async def test_inquiry_and_retry_are_made_after_the_clock_was_set_back(
    payments: PaymentMaker,
    settings: Settings,
    admin: Admin,
    provider: FakeProvider,
    answer: Unknown | Unavailable,
) -> None:
    provider.charges.append(answer)
    payment_id = await payments.pending()
    await payments.process(payment_id)
    provider.inquiries.append(Succeeded(1_000))
    await set_clock(admin, 0)
    await process_rows_ahead(payments, settings, payment_id)
    assert (await evidence(admin, payment_id)).status == "completed"


async def test_refund_is_claimed_after_the_clock_was_set_back(
    refunds: RefundMaker, settings: Settings, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    refund_id = await refunds.pending(payment_id, 300)
    await set_clock(admin, 0)
    assert refund_id in {due.id for due in await find_refunds_ahead(limit=ALL, settings=settings)}
    await refunds.process(refund_id)
    assert (await refund_evidence(admin, refund_id)).status == "completed"


async def test_a_second_not_found_proves_nothing_if_the_first_is_dated_in_the_future(
    payments: PaymentMaker, settings: Settings, admin: Admin, provider: FakeProvider
) -> None:
    provider.charges.append(Unknown("read time-out"))
    payment_id = await payments.pending()
    await payments.process(payment_id)
    await set_clock(admin, HOUR + 3)
    await payments.process(payment_id)
    await set_clock(admin, 0)
    await process_rows_ahead(payments, settings, payment_id)
    found = await evidence(admin, payment_id)
    assert found.outcomes == ["unknown"]
    now = (await (await admin.execute("SELECT clock_timestamp() AS now")).fetchone() or {})["now"]
    assert found.attempts[0]["not_found_at"] <= now
    assert found.row["in_doubt_since"] <= now


async def test_timeline_is_in_the_order_of_versions_after_the_clock_was_set_back(
    payments: PaymentMaker, settings: Settings, admin: Admin
) -> None:
    payment_id = await payments.pending()
    await set_clock(admin, 0)
    await payments.process(payment_id)
    events = await read_timeline(payment_id, caller=payments.tenant.device)
    versions = [event["version"] for event in events if "version" in event]
    assert versions == [1, 2, 3]
    assert [event["at"] for event in events] != sorted(event["at"] for event in events)  # the clock was set back
    kinds = [event["type"] for event in events]
    assert kinds.index("attempt_sent") < kinds.index("attempt_answered")


@pytest.mark.parametrize("inquiries", [0, 1, 2, 6, 7, 8, 9, 31, 32, 33, 50])
async def test_no_scheduled_due_time_is_mistaken_for_that_of_a_fast_clock(
    payments: PaymentMaker, settings: Settings, admin: Admin, provider: FakeProvider, inquiries: int
) -> None:
    latest = replace(payments.processor._retry_policy("sandbox"), spread=lambda: 1.2)
    payments.processor._retry_policy = lambda _name: latest  # type: ignore[method-assign, assignment]
    provider.charges.extend([Unknown("?"), Unavailable("429", retry_after_seconds=86_400)])
    doubted, retried, leased, new = [await payments.pending() for _ in range(4)]
    await payments.process(doubted)
    await payments.process(retried)
    await PAYMENTS.claim([leased], worker="slow", lease_seconds=settings.lease_seconds)
    await admin.execute("UPDATE payments SET inquiries = %s, due_at = now() WHERE id = %s", [inquiries, doubted])
    provider.inquiries.append(Unavailable("429", retry_after_seconds=86_400))
    await payments.process(doubted)
    assert not {doubted, retried, leased, new} & await ahead(settings)
