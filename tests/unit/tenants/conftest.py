"""Fixtures for the tests of tokens."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from mpac.stack.keys import public_jwks
from tests.unit.tenants.signing import USER_KEY, publish, settings_of
from workflows.tenants.tokens import Tokens


@pytest.fixture
def jwks_file(tmp_path: Path) -> Path:
    file = tmp_path / "jwks.json"
    publish(file, public_jwks(USER_KEY))
    return file


@pytest.fixture
def tokens(tmp_path: Path, jwks_file: Path) -> Tokens:
    return Tokens(settings_of(tmp_path, user_jwks_file=jwks_file))


@pytest.fixture
def clock() -> Iterator[Any]:
    with freeze_time(datetime(2026, 1, 28, 3, 0, tzinfo=UTC), real_asyncio=True) as frozen:
        yield frozen
