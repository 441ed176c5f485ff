"""Health: is this process alive, and could it serve a payment right now?"""

from fastapi import APIRouter
from starlette.responses import Response

from api.answers import json_answer
from api.problems import problems
from workflows.health import database_answers

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", responses=problems())
async def live() -> Response:
    """This process runs."""
    return json_answer({"status": "live"})


@router.get("/ready", responses=problems())
async def ready() -> Response:
    """This process can store a payment. The broker is not asked: without it payments are merely later."""
    await database_answers()
    return json_answer({"status": "ready"})
