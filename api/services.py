"""What one API process is made of: built once when it starts, reached by routes through ``request.app.state``."""

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from api.limits import Limits
from workers.nudge import Nudger
from workflows.devices.issue_token import Issuing
from workflows.orders.create import Ordering
from workflows.payments.accept import Accepting
from workflows.payments.watch import Watch
from workflows.providers.registry import Providers
from workflows.settings import Settings
from workflows.tenants.tokens import Tokens


@dataclass(frozen=True)
class Services:
    """The long-lived objects of this process."""

    settings: Settings
    limits: Limits
    tokens: Tokens
    issuing: Issuing
    accepting: Accepting
    ordering: Ordering
    watch: Watch
    nudger: Nudger
    providers: Providers


def services(request: Request) -> Services:
    """The services of the process that serves ``request``."""
    return cast(Services, request.app.state.services)
