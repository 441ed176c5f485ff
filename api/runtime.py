"""Build the long-lived objects of an API process when it starts, and make them available to routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from fastapi import Request

from api.failed_auth_limit import FailedAuthLimit
from api.limits import Limits
from workers.nudge import Nudger
from workers.nudge_sender import NudgeSender
from workers.silence_monitor import SilenceMonitor
from workflows.bills.intake import BillIntake
from workflows.bills.queries import BillReads, bill_reads
from workflows.database.engines import Role, connect, disconnect
from workflows.devices.client_assertions import Assertions
from workflows.devices.issue_token import TokenIssuer
from workflows.gc_tuning import tune_gc
from workflows.ops.metrics_store import TotalsWriter
from workflows.orders.create import OrderIntake
from workflows.orders.queries import OrderReads, order_reads
from workflows.orders.totals import TaxRounding
from workflows.payments.accept import PaymentIntake
from workflows.payments.await_changes import ChangeListener
from workflows.payments.queries import PaymentReads, payment_pages, payment_reads
from workflows.providers.registry import Providers, open_providers
from workflows.refunds.intake import RefundIntake
from workflows.refunds.queries import RefundReads, refund_reads
from workflows.settings import Settings
from workflows.tenants.gathered_pages import GatheredPages
from workflows.tenants.tokens import Tokens

API_ROLES = (Role.CALLER, Role.ACCEPT)
"""The database roles that requests use."""

STATEMENT_MARGIN_SECONDS = 2.0
"""A waiting request fails this long after ``statement_timeout``, when a live database would have cancelled its statement."""


@dataclass(frozen=True)
class Runtime:
    """The long-lived objects of this process."""

    settings: Settings
    limits: Limits
    failed_auth_limit: FailedAuthLimit
    tokens: Tokens
    token_issuer: TokenIssuer
    payment_intake: PaymentIntake
    order_intake: OrderIntake
    refund_intake: RefundIntake
    bill_intake: BillIntake
    payment_reads: PaymentReads
    payment_pages: GatheredPages
    order_reads: OrderReads
    bill_reads: BillReads
    refund_reads: RefundReads
    change_listener: ChangeListener
    nudger: Nudger
    silence_monitor: SilenceMonitor
    totals_writer: TotalsWriter
    providers: Providers


@asynccontextmanager
async def running(settings: Settings, limits: Limits) -> AsyncIterator[Runtime]:
    """Build and start all objects; at the end, stop them in the reverse order."""
    connect(settings, roles=API_ROLES)
    tokens = Tokens(settings)
    timeout_seconds = settings.statement_timeout_ms / 1000 + STATEMENT_MARGIN_SECONDS
    payments = payment_reads(timeout_seconds=timeout_seconds)
    runtime = Runtime(
        settings=settings,
        limits=limits,
        failed_auth_limit=FailedAuthLimit(settings),
        tokens=tokens,
        token_issuer=TokenIssuer(tokens, Assertions(settings), timeout_seconds=timeout_seconds),
        payment_intake=PaymentIntake(
            nudge_grace_seconds=settings.nudge_grace_seconds,
            timeout_seconds=timeout_seconds,
            renders_answers=settings.render_answers,
        ),
        order_intake=OrderIntake(tax_rounding=TaxRounding(settings.tax_rounding), timeout_seconds=timeout_seconds),
        refund_intake=RefundIntake(nudge_grace_seconds=settings.nudge_grace_seconds, timeout_seconds=timeout_seconds),
        bill_intake=BillIntake(timeout_seconds=timeout_seconds),
        payment_reads=payments,
        payment_pages=payment_pages(timeout_seconds=timeout_seconds),
        order_reads=order_reads(timeout_seconds=timeout_seconds),
        bill_reads=bill_reads(timeout_seconds=timeout_seconds),
        refund_reads=refund_reads(timeout_seconds=timeout_seconds),
        change_listener=ChangeListener(payments),
        nudger=Nudger(
            NudgeSender(settings.broker_url.get_secret_value()), spacing_seconds=settings.nudge_spacing_ms / 1000
        ),
        totals_writer=TotalsWriter(Role.ACCEPT),
        silence_monitor=SilenceMonitor(silence_seconds=settings.silence_seconds),
        providers=open_providers(settings),
    )
    runtime.change_listener.start()
    runtime.limits.start()
    runtime.nudger.start()
    runtime.silence_monitor.start()
    runtime.totals_writer.start()
    tune_gc()
    yield runtime
    runtime.silence_monitor.stop()
    await runtime.nudger.stop()
    await runtime.limits.stop()
    await runtime.change_listener.stop()
    await runtime.totals_writer.stop()
    await runtime.providers.close()
    await disconnect()


def runtime_of(request: Request) -> Runtime:
    """Return the long-lived objects of the process that serves ``request``."""
    return cast(Runtime, request.app.state.runtime)
