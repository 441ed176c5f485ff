"""The API process: ``create_app`` is what uvicorn calls, and the only place where the parts of the API meet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from api.content_type import right_content_type
from api.errors import install_errors
from api.limits import Limits
from api.middleware import Frame
from api.readable_query import readable_query
from api.routes import (
    auth,
    bills,
    exports,
    health,
    ledger,
    merchants,
    metrics,
    ops,
    orders,
    payments,
    provision,
    refunds,
    settlements,
    statements,
    store_providers,
    stores,
    terminals,
)
from api.routes.documentation import install_documentation
from api.services import Services
from workers.nudge import Nudger
from workflows.collector import settle_collector
from workflows.database import Role, connect, disconnect
from workflows.devices.issue_token import Issuing
from workflows.logs import configure_logs
from workflows.orders.create import Ordering
from workflows.orders.totals import TaxRounding
from workflows.payments.accept import Accepting
from workflows.payments.watch import Watch
from workflows.providers.registry import open_providers
from workflows.settings import Settings, load_settings
from workflows.tenants.tokens import Tokens

PREFIX = "/api/v1"
ROUTERS = (
    payments.router,
    orders.router,
    bills.router,
    merchants.router,
    stores.router,
    store_providers.router,
    terminals.router,
    provision.router,
    auth.router,
    ops.router,
    refunds.router,
    settlements.router,
    statements.router,
    exports.router,
    ledger.router,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Raises ``pydantic.ValidationError`` where a setting is missing."""
    settings = settings or load_settings()
    configure_logs(settings.log_level)
    limits = Limits(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        connect(settings, roles=(Role.CALLER, Role.ACCEPT))
        tokens = Tokens(settings)
        ours = Services(
            settings=settings,
            limits=limits,
            tokens=tokens,
            issuing=Issuing(tokens),
            accepting=Accepting(nudge_grace_seconds=settings.nudge_grace_seconds),
            ordering=Ordering(tax_rounding=TaxRounding(settings.tax_rounding)),
            watch=Watch(),
            providers=open_providers(settings),
            nudger=Nudger(spacing_seconds=settings.nudge_spacing_ms / 1000),
        )
        app.state.services = ours
        ours.watch.start()
        ours.limits.start()
        ours.nudger.start()
        settle_collector()
        yield
        ours.nudger.stop()
        await ours.limits.stop()
        await ours.watch.stop()
        await ours.providers.close()
        await disconnect()

    app = FastAPI(
        title="MPAC SmartPOS Payments",
        version="1",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
    )
    install_errors(app)
    for router in ROUTERS:  # each by itself: a router of routers is looked through anew for every request
        app.include_router(router, prefix=PREFIX, dependencies=[Depends(right_content_type), Depends(readable_query)])
    app.include_router(health.router)
    app.include_router(metrics.router)
    install_documentation(app)
    app.add_middleware(
        Frame, limits=limits, max_body_bytes=settings.max_body_bytes, max_upload_bytes=settings.max_statement_bytes
    )
    return app
