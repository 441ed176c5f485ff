"""Build the API application from its routes, checks and limits. uvicorn serves the result of ``create_app``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import Depends, FastAPI

from api.errors import install_errors
from api.fast_read import install_fast_reads
from api.fast_route import install_fast_routes
from api.hot_routes import Application, install_hot_routes
from api.limits import Limits
from api.middleware import RequestMiddleware
from api.query_checks import install_query_check
from api.request_checks import BEFORE_EVERY_ROUTE
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
    provisioning,
    reconciliation,
    refunds,
    settlements,
    store_providers,
    stores,
    terminals,
)
from api.routes.documentation import install_documentation
from api.routes.landing_page import install_landing_page
from api.runtime import running
from api.version import VERSION
from workflows.logs import configure_logs
from workflows.settings import Settings, load_settings

PREFIX = "/api/v1"
ROUTERS = (
    payments.router,
    orders.router,
    bills.router,
    merchants.router,
    stores.router,
    store_providers.router,
    terminals.router,
    provisioning.router,
    auth.router,
    ops.router,
    refunds.router,
    settlements.router,
    reconciliation.router,
    exports.router,
    ledger.router,
)


def create_app(settings: Settings | None = None) -> Application:
    """Set up logging and build the application.

    Raises ``pydantic.ValidationError`` if a setting is missing.
    """
    settings = settings or load_settings()
    configure_logs(settings.log_level)
    return build_app(settings)


def build_app(settings: Settings) -> Application:
    """Build the application. It opens no connection before its lifespan begins."""
    limits = Limits(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(settings, limits) as app.state.runtime:
            yield

    app = Application(
        title="MPAC SmartPOS Payments",
        version=VERSION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # api.routes.documentation serves it
        dependencies=[Depends(check) for check in BEFORE_EVERY_ROUTE],
    )
    install_errors(app)
    for router in ROUTERS:  # included one by one, because each level of nested routers costs every request a search
        app.include_router(router, prefix=PREFIX)
    app.include_router(health.router)
    app.include_router(metrics.router)
    install_documentation(app, settings)
    install_landing_page(app, settings)
    install_query_check(app)
    install_fast_routes(app)
    install_fast_reads(app)
    within_limits = partial(
        RequestMiddleware,
        limits=limits,
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_statement_bytes,
    )
    app.add_middleware(within_limits)
    install_hot_routes(app, within_limits)
    return app
