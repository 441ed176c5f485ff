"""A database that neither answers nor hangs up: the API says so to who asks for its health, and goes on afterwards."""

import os
import signal
import time

import psycopg
from psycopg.rows import DictRow

from tests.conftest import Serve
from tests.factories import Tenant

BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'mpac_accept' AND datname = current_database()"


async def test_a_frozen_database_is_told_in_time(
    serve: Serve, tenant: Tenant, admin: psycopg.AsyncConnection[DictRow]
) -> None:
    async with serve() as api:
        assert (await api.pay(tenant)).status == 201
        backends = [row["pid"] for row in await (await admin.execute(BACKENDS)).fetchall()]
        assert backends
        for pid in backends:
            os.kill(pid, signal.SIGSTOP)
        try:
            asked = time.monotonic()
            frozen = await api.get("//health/ready")
            assert (frozen.status, frozen.code) == (503, "SERVICE_UNAVAILABLE")
            assert time.monotonic() - asked < 5
            assert (await api.get("//health/live")).status == 200
        finally:
            for pid in backends:
                os.kill(pid, signal.SIGCONT)
        assert (await api.get("//health/ready")).status == 200
        assert (await api.pay(tenant)).status == 201
