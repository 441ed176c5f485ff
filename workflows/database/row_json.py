"""Rendering: values as the bytes of an answer.

The answer to a key is stored beside it and given again byte for byte, so it is rendered in the domain, and not by the
web framework.
"""

from datetime import datetime
from typing import Any

import orjson


def render(value: Any) -> bytes:
    """``value`` as JSON. Instants are RFC 3339 in UTC with a ``Z``."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def instant(value: datetime) -> str:
    """One instant in the spelling of ``render``."""
    return str(orjson.loads(render(value)))
