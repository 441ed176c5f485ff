"""An idle service logs nothing, because requests of probes and scrapers are logged only if they fail."""

import logging

import pytest

from tests.harness import Api


async def test_only_successful_probes_are_not_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "api.requests")
    asked = ["//health/live", "//health/ready", "//metrics", "//health/live?x=1", "//health/elsewhere", "//docs"]
    answers = {path: (await api.get(path)).status for path in asked}
    assert answers == dict(zip(asked, (200, 200, 200, 400, 404, 200), strict=True))
    logged = [(record.path, record.status) for record in caplog.records if record.name == "api.requests"]  # type: ignore[attr-defined]
    assert logged == [("/health/live", 400), ("/health/elsewhere", 404), ("/docs", 200)]
