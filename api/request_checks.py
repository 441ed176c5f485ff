"""Check every request before its route: the type of its body, its query, repeated names in its body.

These are dependencies of all routes rather than a middleware, so that an unknown path stays a 404 whatever was sent to it.
Queries are checked in ``api.query_checks``.
"""

from collections.abc import Mapping

from fastapi import Request

from api.media_types import FORM, JSON
from api.query_checks import check_query
from api.strict_json import check_once, read_json
from api.uploads import UPLOAD_TYPES, is_upload
from workflows.devices.client_assertions import TOKEN_PATH
from workflows.errors import Detail, MalformedRequest

OTHER_TYPES: Mapping[str, str] = {TOKEN_PATH: FORM}
"""Paths whose body is not JSON. OAuth 2 requires a form for tokens."""


async def check_content_type(request: Request) -> None:
    """Raise ``MalformedRequest`` if there is a body of a type that this path does not take."""
    if not has_body(request):
        return
    path = request.scope["path"]
    expected = UPLOAD_TYPES if is_upload(path) else (OTHER_TYPES.get(path, JSON),)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in expected:
        one_of = "one of " if len(expected) > 1 else ""
        raise MalformedRequest(Detail("Content-Type", f"Must be {one_of}{', '.join(expected)}"))


async def check_body_names(request: Request) -> None:
    """Raise ``MalformedRequest`` if the body is not valid JSON, or repeats a name: the last would win.

    Uploads are streamed, and checked while they are read.
    """
    if not has_body(request) or is_upload(request.scope["path"]):
        return
    if request.headers.get("content-type", "").startswith(FORM):
        check_once((name for name, _ in (await request.form()).multi_items()), field="body")
    elif raw := await request.body():
        read_json(raw)


def has_body(request: Request) -> bool:
    """Return whether a body was announced."""
    if "transfer-encoding" in request.headers:
        return True
    return request.headers.get("content-length", "0").strip("0") != ""


BEFORE_EVERY_ROUTE = (check_content_type, check_query, check_body_names)
"""The dependencies of the application, in this order. ``api.fast_route`` does the last one while it decodes the body."""
