"""Render values as the JSON bytes of a response.

The domain renders responses and not the web framework, because the response to a request with an idempotency key is stored
and repeated byte for byte.
"""

from datetime import datetime
from typing import Any

import orjson


def render(value: Any) -> bytes:
    """Return ``value`` as JSON. Timestamps are RFC 3339 in UTC with a ``Z``."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def instant(value: datetime) -> str:
    """Return a timestamp as ``render`` writes it, without quotes."""
    return str(orjson.loads(render(value)))
