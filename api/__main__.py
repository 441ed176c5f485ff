"""Run one API process: ``python -m api``. ``mpac api`` and the containers use this command."""

import argparse
import sys

import uvicorn

from workflows.devices.client_assertions import Assertions
from workflows.settings import settings_or_exit
from workflows.tenants.tokens import Tokens

# Requests in flight may take this long after a stop signal. A request with ?wait= is cut off then; its terminal repeats it.
GRACE_SECONDS = 5
# Longer than clients and proxies keep an idle connection, so that they close it first.
KEEP_ALIVE_SECONDS = 75
BACKLOG = 4_096  # connections that wait to be accepted; many terminals connect at the same moment when shops open


def main() -> None:
    """Serve until a signal stops the process.

    uvicorn's access log is off, because ``api.middleware`` logs each request.
    """
    parser = argparse.ArgumentParser(prog="python -m api", description="Serve the HTTP interface.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8800)
    options = parser.parse_args()
    settings = settings_or_exit()
    try:
        Tokens(settings), Assertions(settings)  # raise if a setting is missing, to exit with one sentence about it
    except ValueError as error:
        sys.exit(str(error))
    # Imported after the checks: this takes a second of CPU time, and an invalid setting is reported without it.
    from api.app import create_app  # noqa: PLC0415
    from api.http1.protocol import SequentialProtocol  # noqa: PLC0415

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
        log_config=None,  # create_app() has configured logging
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


if __name__ == "__main__":
    main()
