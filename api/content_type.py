"""What a body may be: JSON, but for the few paths that say otherwise. Anything else is 400, before it is looked at.

A dependency of all routes rather than a middleware, so that an unknown path stays a 404 whatever was sent to it.
"""

from collections.abc import Mapping

from fastapi import Request

from api.media_types import FORM, JSON
from api.uploads import UPLOAD_TYPES, is_upload
from workflows.devices.assertions import TOKEN_PATH
from workflows.errors import Detail, MalformedRequest

OTHERS: Mapping[str, str] = {TOKEN_PATH: FORM}
"""Paths whose body is not JSON. OAuth 2 wants a form for tokens."""


async def right_content_type(request: Request) -> None:
    """Raise ``MalformedRequest`` where there is a body of another type than this path takes."""
    if not has_body(request):
        return
    path = request.scope["path"]
    expected = UPLOAD_TYPES if is_upload(path) else (OTHERS.get(path, JSON),)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in expected:
        one_of = "one of " if len(expected) > 1 else ""
        raise MalformedRequest(Detail("Content-Type", f"Must be {one_of}{', '.join(expected)}"))


def has_body(request: Request) -> bool:
    """Whether a body was announced."""
    if "transfer-encoding" in request.headers:
        return True
    return request.headers.get("content-length", "0").strip("0") != ""
