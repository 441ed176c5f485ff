"""The OpenAPI document passes Spectral's rules."""

from pathlib import Path

import orjson

from tests.clients.generated import lint
from tests.published import published_document


def test_spectral_finds_neither_errors_nor_warnings(tmp_path: Path) -> None:
    said = lint(orjson.dumps(published_document()), tmp_path)
    assert "No results" in said
