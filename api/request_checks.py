"""Check each request before its route runs: the body's content type, the query, and repeated names in the body.

The checks are dependencies of all routes rather than a middleware, so that every request to an unknown path is answered with
404. ``api.query_checks`` checks the queries.
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
"""Path → the content type of its body, if that is not JSON. OAuth 2 requires a form for token requests."""


async def check_content_type(request: Request) -> None:
    """Raise ``MalformedRequest`` if the request's body has a content type that its path does not accept."""
    if not has_body(request):
        return
    path = request.scope["path"]
    expected = UPLOAD_TYPES if is_upload(path) else (OTHER_TYPES.get(path, JSON),)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in expected:
        one_of = "one of " if len(expected) > 1 else ""
        raise MalformedRequest(Detail("Content-Type", f"Must be {one_of}{', '.join(expected)}"))


async def check_body_names(request: Request) -> None:
    """Raise ``MalformedRequest`` if the body is not valid JSON or repeats a name.

    Only the last value of a repeated name would count. Uploads are not checked here but while they are streamed.
    """
    if not has_body(request) or is_upload(request.scope["path"]):
        return
    if request.headers.get("content-type", "").startswith(FORM):
        check_once((name for name, _ in (await request.form()).multi_items()), field="body")
    elif raw := await request.body():
        read_json(raw)


def has_body(request: Request) -> bool:
    """Return whether the headers announce a body."""
    if "transfer-encoding" in request.headers:
        return True
    return request.headers.get("content-length", "0").strip("0") != ""


BEFORE_EVERY_ROUTE = (check_content_type, check_query, check_body_names)
"""The dependencies of all routes, in this order. Fast routes do the last check while they decode the body."""
