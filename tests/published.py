"""The OpenAPI document as the application publishes it, made once per test process."""

from functools import cache
from typing import Any

import pytest

from api.app import create_app
from workflows.settings import Settings

UNUSED = "postgresql://nobody@127.0.0.1:1/none"


@cache
def published_document() -> dict[str, Any]:
    """Return the document. It is shared: do not change it."""
    settings = Settings.model_validate(
        {"database_url": UNUSED, "broker_url": "redis://127.0.0.1:1/0", "secret_key": "of a test"}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.app.configure_logs", lambda _level: None)  # it would take the test run's own logs away
        return create_app(settings).openapi()
