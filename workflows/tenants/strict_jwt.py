"""Read the two JSON parts of a JWT strictly, before any lookup and before the signature is checked.

PyJWT reads them as Python's ``json`` does: of two equal names the last counts, ``NaN`` is a number, and a time may be a
string in the digits of any script. Another reader of the same token may have taken the first value, so such a token is
refused. PyJWT verifies the signature later.
"""

import base64
import json
import re
from typing import Any

SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
TIMES = ("exp", "nbf", "iat")
NOT_UNDERSTOOD = ("crit", "b64")  # header parameters that change how a token is read (RFC 7515 §4.1.11, RFC 7797)


def read_parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the claims of ``token``, unverified.

    Raises ``ValueError``, ``RecursionError``.
    """
    header, claims, signature = token.split(".")
    if not SEGMENT.fullmatch(signature):
        raise ValueError("the signature is not base64url")
    read = _object(header), _object(claims)
    if any(name in read[0] for name in NOT_UNDERSTOOD):
        raise ValueError("the header has an extension that is not understood")
    if any(type(read[1].get(name, 0)) not in (int, float) for name in TIMES):
        raise ValueError("a time is not a number")
    return read


def loads_unique(text: str | bytes) -> Any:
    """Parse JSON; raise ``ValueError`` if an object has a name twice or a number is not finite."""
    return json.loads(text, object_pairs_hook=_reject_duplicates, parse_constant=_reject_constant)


def _object(segment: str) -> dict[str, Any]:
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
