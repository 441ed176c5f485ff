"""Health: is this process alive, and could it serve a payment right now?"""

from fastapi import APIRouter
from starlette.responses import Response

from api.answers import json_answer
from api.problems import problems
from api.schemas.health import LivenessOut, ReadinessOut
from workflows.canaries import SILENCE_SECONDS, beat_silent_seconds
from workflows.health import database_takes_payments
from workflows.shared import Shared

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", response_model=LivenessOut, responses=problems())
async def live() -> Response:
    """This process runs."""
    return json_answer({"status": "live"})


@router.get("/ready", response_model=ReadinessOut, responses=problems())
async def ready() -> Response:
    """Check that this process can store a payment. The broker is not asked: without it payments are merely delayed.

    `beat` is `silent` when no worker has received a sweep for a minute: new payments are processed as before, but retries,
    inquiries and expiry wait, so an operator has to act. It is not a reason to send traffic elsewhere.
    """
    silent = await _PROBE.result() >= SILENCE_SECONDS
    return json_answer({"status": "ready", "beat": "silent" if silent else "heard"})


async def _probe() -> float:
    await database_takes_payments()
    return await beat_silent_seconds()


_PROBE = Shared(_probe)
