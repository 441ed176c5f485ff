"""The rival's worker: one task per payment, which claims, calls and records."""

import os
from pathlib import Path
from typing import Any

import aiohttp
from taskiq import SimpleRetryMiddleware, TaskiqEvents, TaskiqState
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import RedisStreamBroker

from benchmarks.rivals.tables import BROKER_URL, SANDBOX_API_KEY, SANDBOX_URL, now
from benchmarks.rivals.taskiq import statements
from mpac.stack.probes import READY_FILE_VARIABLE
from workflows.gc_tuning import tune_gc

CONNECTIONS = 20
TASKS = 512  # `taskiq worker --max-async-tasks 512`: as many calls of the provider as terminals
TIMEOUT = aiohttp.ClientTimeout(total=10)
REDELIVERED_AFTER_MS = 60_000  # if a worker died before it acknowledged the message
STREAM_LENGTH = 100_000  # messages that Valkey keeps; acknowledged ones are otherwise never removed

broker = (
    RedisStreamBroker(
        BROKER_URL or "redis://",
        queue_name="payments",
        maxlen=STREAM_LENGTH,
        idle_timeout=REDELIVERED_AFTER_MS,
        unacknowledged_lock_timeout=10,
    )
    .with_serializer(ORJSONSerializer())
    .with_middlewares(SimpleRetryMiddleware(default_retry_count=10))
)
engine = statements.connect(pool_size=CONNECTIONS)


class NoAnswer(Exception):
    """The provider did not report the outcome, so the task retries with an inquiry."""


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def start(state: TaskiqState) -> None:
    """Open the HTTP client, tune the garbage collector and report that this process is ready."""
    headers = {"Authorization": f"Bearer {SANDBOX_API_KEY}"}
    state.http = aiohttp.ClientSession(
        headers=headers,
        timeout=TIMEOUT,
        connector=aiohttp.TCPConnector(limit=TASKS),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    tune_gc()
    _announce_ready()


def _announce_ready() -> None:
    """Write the pid of the parent process, which the supervisor started, to the file that it reads."""
    Path(os.environ[READY_FILE_VARIABLE]).write_text(str(os.getppid()))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def stop(state: TaskiqState) -> None:
    """Close the connections."""
    await state.http.close()
    await engine.dispose()


@broker.task("payments.process", retry_on_error=True)
async def process_payment(payment_id: str) -> None:
    """Charge one payment and record the outcome. A second delivery inquires about the charge of the first."""
    reference = f"{payment_id}:1"
    claim = {"id": payment_id, "reference": reference, "at": now()}
    async with engine.connect() as connection:
        claimed = (await connection.execute(statements.CLAIM, claim)).one_or_none()
        if claimed is None:
            is_processing = await connection.execute(statements.IS_PROCESSING, {"id": payment_id})
            if is_processing.one_or_none() is None:
                return
    body = (
        None
        if claimed is None
        else {
            "reference": reference,
            "payment_id": payment_id,
            "amount": claimed.amount,
            "currency": claimed.currency,
            "metadata": claimed.details,
        }
    )
    answer = await _call(broker.state.http, reference, body)
    is_success = answer["status"] == "succeeded"
    outcome = {
        "id": payment_id,
        "at": now(),
        "status": "completed" if is_success else "failed",
        "outcome": answer["status"],
        "provider_reference": answer.get("provider_reference"),
        "failure_code": None if is_success else answer.get("decline_code"),
    }
    async with engine.connect() as connection:
        await connection.execute(statements.RECORD, outcome)


async def _call(http: aiohttp.ClientSession, reference: str, body: dict[str, Any] | None) -> dict[str, Any]:
    """Send a charge, or an inquiry if ``body`` is ``None``, and return the provider's answer.

    Raises ``NoAnswer`` unless the provider reported the outcome.
    """
    try:
        if body is None:
            request = http.get(f"{SANDBOX_URL}/v1/charges/{reference}")
        else:
            request = http.post(f"{SANDBOX_URL}/v1/charges", json=body)
        async with request as response:
            answer: dict[str, Any] = await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise NoAnswer(str(error)) from error
    if response.status != 200 or answer["status"] not in ("succeeded", "declined"):
        raise NoAnswer(str(response.status))
    return answer
