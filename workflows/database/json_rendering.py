"""Render values as the JSON bytes of a response.

The response to an idempotency key is stored with the key and replayed byte for byte, so the domain renders it and not the
web framework.
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
