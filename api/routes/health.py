"""Routes of the liveness and readiness probes."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.openapi.error_responses import error_responses
from api.responses import json_response
from api.runtime import runtime_of
from api.schemas.health import LivenessOut, ReadinessOut
from workflows.ops.health import SingleFlight, database_takes_payments
from workflows.ops.silence_rules import HEARD, Component

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", response_model=LivenessOut, responses=error_responses())
async def live() -> Response:
    """Report that this process runs."""
    return json_response({"status": "live"})


@router.get("/ready", response_model=ReadinessOut, responses=error_responses())
async def ready(request: Request) -> Response:
    """Check that this process can store a payment, and report which parts of the installation are silent.

    Do not send traffic elsewhere because a part is silent: payments are still stored, and processed later, but an operator
    has to act. `silent` lists the parts whose state is not `heard`, as of a few seconds ago. `queues` and `workers` list all
    queues and workers, with the seconds since each last consumed a message. A worker is `deaf` if it runs but consumes no
    messages, and `silent` if it does not even report that it runs. `unknown` means that the state cannot be determined,
    because the broker is unavailable or, for beat, because no worker consumes its messages.
    """
    await _PROBE.result()
    monitor = runtime_of(request).silence_monitor
    components = monitor.components
    beat = [component.state for component in components if component.kind == "beat"]
    broker = [component.state for component in components if component.kind == "broker"]
    return json_response(
        {
            "status": "ready",
            "beat": beat[0] if beat else HEARD,
            "broker": broker[0] if broker else HEARD,
            "silent": [
                {"kind": component.kind, **_fields(component)} for component in components if component.state != HEARD
            ],
            "queues": [
                {**_fields(component), "messages_waiting": monitor.messages_waiting(component.name)}
                for component in components
                if component.kind == "queue"
            ],
            "workers": [_fields(component) for component in components if component.kind == "worker"],
        }
    )


def _fields(component: Component) -> dict[str, Any]:
    seconds = None if component.seconds is None else round(component.seconds)
    return {"name": component.name, "state": component.state, "silent_seconds": seconds}


_PROBE = SingleFlight(database_takes_payments)
