"""The numbers in docs/production.md match the code."""

import re

from mpac.stack.state_folder import ROOT
from workflows.database.engines import HOT_SWEEPS
from workflows.settings import Settings

PAGE = ROOT / "docs" / "production.md"
ROLES = re.compile(r"Role\.[A-Z]+")


def roles_of(source: str, line: str) -> int:
    """Return the number of roles in the first line of ``source`` that begins with ``line``."""
    found = next(text for text in (ROOT / source).read_text().splitlines() if text.strip().startswith(line))
    return len(ROLES.findall(found))


def test_documented_connections_of_each_process_match_its_pools() -> None:
    fields = Settings.model_fields
    size = fields["database_pool_size"].default
    pools = size + fields["long_calls"].default
    # Both roles of the API and two of a worker, of which one has few, have connections of the hot path; the API has another
    # one that listens.
    api = roles_of("api/runtime.py", "API_ROLES =") * (pools + size) + 1
    worker = roles_of("workers/runtime.py", "connect(settings, roles=") * pools + size + HOT_SWEEPS
    rows = dict(re.findall(r"^\| (API|worker) \| [^|]+ \| (\d+) \|", PAGE.read_text(), re.MULTILINE))
    assert rows == {"API": str(api), "worker": str(worker)}
