"""Reject names that are twice in a body; otherwise the last value silently wins. Queries: ``api.query_names``.

A dependency of the usual routes; a hot one reads its body once, by ``read_json``.
"""

from fastapi import Request

from api.content_type import has_body
from api.media_types import FORM
from api.strict_json import check_once, read_json
from api.uploads import is_upload


async def named_once(request: Request) -> None:
    """Raise ``MalformedRequest`` if the body names something twice or is not valid JSON."""
    if not has_body(request) or is_upload(request.scope["path"]):
        return  # an upload is streamed, and read by whoever streams it
    if request.headers.get("content-type", "").startswith(FORM):
        check_once((name for name, _ in (await request.form()).multi_items()), field="body")
    elif raw := await request.body():
        read_json(raw)
