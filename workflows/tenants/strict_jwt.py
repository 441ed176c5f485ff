"""Parse the header and the claims of a JWT strictly, before any look-up and before the signature is checked.

PyJWT parses them as Python's ``json`` does: the last of two equal names wins, ``NaN`` is a number, and a time may be a string
in the digits of any script. Another parser of the same token may have used the first of the equal names, so such a token is
refused. PyJWT verifies the signature later.
"""

import base64
import json
import re
from typing import Any

SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
TIMES = ("exp", "nbf", "iat")
NOT_UNDERSTOOD = ("crit", "b64")  # header parameters that change the meaning of a token (RFC 7515 §4.1.11, RFC 7797)


def read_parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the claims of ``token``, whose signature is not verified.

    Raises ``ValueError``, or ``RecursionError`` for JSON that is nested too deeply.
    """
    header, claims, signature = token.split(".")
    if not SEGMENT.fullmatch(signature):
        raise ValueError("the signature is not base64url")
    parts = _parse_object(header), _parse_object(claims)
    if any(name in parts[0] for name in NOT_UNDERSTOOD):
        raise ValueError("the header has an extension that is not understood")
    if any(type(parts[1].get(name, 0)) not in (int, float) for name in TIMES):
        raise ValueError("a time is not a number")
    return parts


def loads_unique(text: str | bytes) -> Any:
    """Parse JSON. Raise ``ValueError`` if an object has a name twice or a number is not finite."""
    return json.loads(text, object_pairs_hook=_reject_duplicates, parse_constant=_reject_constant)


def _parse_object(segment: str) -> dict[str, Any]:
    if not SEGMENT.fullmatch(segment):
        raise ValueError("a part is not base64url")
    value = loads_unique(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    if not isinstance(value, dict):
        raise ValueError("a part is not a JSON object")
    return value


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name appears twice")
    return value


def _reject_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not valid JSON")
