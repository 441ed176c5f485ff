"""Run one API process: ``python -m api``. ``mpac api`` and the containers start it like this."""

import argparse
import sys

import uvicorn

from api.app import create_app
from api.http1.protocol import SequentialProtocol
from workflows.devices.client_assertions import Assertions
from workflows.settings import settings_or_exit
from workflows.tenants.tokens import Tokens

GRACE_SECONDS = (
    5  # for requests in flight at a stop; a waiting ?wait= is cut off then, and its terminal repeats the request
)
KEEP_ALIVE_SECONDS = (
    75  # longer than clients and proxies keep an idle connection, so that they are the ones to close it
)
BACKLOG = 4_096  # connections that wait to be accepted: a shop's terminals all wake up at nine


def main() -> None:
    """Serve until a signal stops it. No access log: ``api.middleware`` logs one line per request."""
    parser = argparse.ArgumentParser(prog="python -m api", description="Serve the HTTP interface.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8800)
    options = parser.parse_args()
    settings = settings_or_exit()
    try:
        Tokens(settings), Assertions(settings)  # their settings may be missing: report that now, in one sentence
    except ValueError as error:
        sys.exit(str(error))
    uvicorn.run(
        create_app(settings),
        host=options.host,
        port=options.port,
        loop="uvloop",
        http=SequentialProtocol,
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `api.failed_auth_limit` reads them, and only behind a trusted proxy
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        log_config=None,  # the application has set up logging
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


if __name__ == "__main__":
    main()
