"""Build the web application: every route of the sandbox in one table."""

from aiohttp import web

from sandbox import cancel_and_reverse, charges, control, inquiries, qr_codes, refunds, statements
from sandbox.context import SandboxContext
from sandbox.errors import not_found_error
from sandbox.requests import MAX_BODY_BYTES
from sandbox.route_wrappers import Handler, control_route, product_route, public_route

V1: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/v1/charges", charges.create_charge),
    ("GET", "/v1/charges/{reference}", inquiries.inquire_charge),
    ("POST", "/v1/charges/{reference}/cancel", cancel_and_reverse.cancel_charge),
    ("POST", "/v1/charges/{reference}/reverse", cancel_and_reverse.reverse_charge),
    ("POST", "/v1/codes", qr_codes.create_code),
    ("POST", "/v1/refunds", refunds.create_refund),
    ("GET", "/v1/refunds/{reference}", inquiries.inquire_refund),
    ("GET", "/v1/statements", statements.get_statement),
)
CONTROL: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/v1/codes/{reference}/pay", qr_codes.pay_code),
    ("GET", "/control/ledger", control.get_ledger),
    ("DELETE", "/control/ledger", control.delete_ledger),
    ("GET", "/control/ledger/{payment_id}", control.get_payment_ledger),
    ("GET", "/control/faults", control.get_faults),
    ("PUT", "/control/faults", control.put_faults),
    ("DELETE", "/control/faults", control.delete_faults),
    ("GET", "/control/latency", control.get_latency),
    ("PUT", "/control/latency", control.put_latency),
    ("GET", "/control/clock", control.get_clock),
    ("PUT", "/control/clock", control.put_clock),
    ("GET", "/control/webhooks", control.get_webhooks),
    ("PUT", "/control/webhooks", control.put_webhooks),
)


def create_app(context: SandboxContext) -> web.Application:
    """Return the application with all routes and their wrappers."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    for method, path, handler in V1:
        app.router.add_route(method, path, product_route(context, handler))
    for method, path, handler in CONTROL:
        app.router.add_route(method, path, control_route(context, handler))
    app.router.add_route("GET", "/health", public_route(context, control.health))
    for path in (
        "/control",
        "/control/{anything:.*}",
    ):  # without the key, unknown control routes answer 401 as known ones do
        app.router.add_route("*", path, control_route(context, unknown_route))
    app.router.add_route("*", "/{anything:.*}", public_route(context, unknown_route))
    return app


async def unknown_route(_context: SandboxContext, _request: web.Request) -> web.StreamResponse:
    """Answer 404 for every path and method that the table does not name."""
    raise not_found_error("route")
