"""Read the fields of each resource from the committed JSON schemas in ``docs/contract``."""

import json
from functools import cache
from typing import Any

from mpac.devtools.documentation.contract import FOLDER
from mpac.stack.state_folder import ROOT


@cache
def schema(resource: str) -> dict[str, Any]:
    """Return the JSON schema of a resource. The result is cached, so callers must not change it."""
    found: dict[str, Any] = json.loads((ROOT / FOLDER / f"{resource}.schema.json").read_text())
    return found


def fields(resource: str) -> tuple[str, ...]:
    """Return the names of the fields of a resource, in the schema's order."""
    return tuple(schema(resource)["required"])
