"""Receive statement files, the only large bodies. They are streamed into a temporary file.

| Content-Type             | body                                                     | provider and mapping         |
|--------------------------|----------------------------------------------------------|------------------------------|
| ``text/csv``             | the file                                                 | in the query                 |
| ``application/x-ndjson`` | the file, with a JSON object on each line                | in the query                 |
| ``multipart/form-data``  | field ``file``, whose name ends in ``.csv`` or ``.ndjson`` | fields of the form         |
| ``application/json``     | ``{"provider", "mapping", "lines": [{…}]}``, up to 1 MiB | in the body                  |

``mapping`` is a ``StatementMapping`` as JSON. Without it, the mapping last declared for the provider is used, or the
provider's default.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Any

import orjson
from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from api.canonical_body import canonical_form_of_invalid
from api.errors import from_validation
from api.idempotency import key_of, key_value
from api.media_types import CSV, JSON, JSON_LINES, MULTIPART
from api.schemas.base import refuse_card_data
from api.schemas.provider_names import reporting_provider
from api.schemas.statements import StatementIn
from api.strict_json import REPEATABLE, check_once, read_json
from workflows.errors import Detail, InvalidRequest, MalformedRequest
from workflows.providers.registry import reporting_names
from workflows.providers.statement_mapping import StatementMapping
from workflows.reconciliation.statements.lines import JsonNumber
from workflows.reconciliation.statements.store_file import Incoming, digest
from workflows.requests.idempotency import Key

UPLOAD_PATH = re.compile(r"/api/v1/settlements/[^/]+/statements")
UPLOAD_TYPES = (CSV, JSON_LINES, MULTIPART, JSON)
FORMATS = {CSV: "csv", JSON_LINES: "json_lines"}
FORM_FIELDS = ("provider", "mapping", "file")
MAX_JSON_BYTES = (
    1024 * 1024
)  # JSON is parsed as a whole; larger files are sent as CSV or JSON lines, which are streamed

FILE = {"type": "string", "format": "binary"}
PROVIDER = {"type": "string", "enum": reporting_names(), "description": "The provider that issued the statement"}
MAPPING = {
    "type": "string",
    "description": "How to read the file: `StatementMapping` as JSON. Without it, the last one that was declared for the "
    "provider is used, or the provider's default",
}
DOCUMENTED_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        MULTIPART: {
            "schema": {
                "type": "object",
                "required": ["provider", "file"],
                "additionalProperties": False,
                "properties": {
                    "provider": PROVIDER,
                    "mapping": MAPPING,
                    "file": {**FILE, "description": "JSON lines if the name ends in `.ndjson`, else CSV"},
                },
            }
        },
        CSV: {"schema": FILE},
        JSON_LINES: {"schema": FILE},
        JSON: {"schema": {"$ref": "#/components/schemas/StatementIn"}},
    },
}
"""``requestBody`` of the route. Written by hand, because FastAPI would read the whole body into memory.

The form is listed first: generators that support only one content type use the first, and openapi-generator imports a class
that does not exist if a form is not the first.
"""

DOCUMENTED_QUERY: list[dict[str, Any]] = [
    {
        "name": name,
        "in": "query",
        "schema": {key: value for key, value in schema.items() if key != "description"},
        "description": f"{schema['description']}. In the query with `{CSV}` and `{JSON_LINES}` only",
    }
    for name, schema in (("provider", PROVIDER), ("mapping", MAPPING))
]
"""``parameters`` of the route. They are used if the body is only the file."""


def is_upload(path: str) -> bool:
    """Return whether ``path`` is that of the upload, whose body may be as large as a statement."""
    return UPLOAD_PATH.fullmatch(path) is not None


@asynccontextmanager
async def receive_upload(request: Request, settlement_id: str, *, secret: bytes) -> AsyncIterator[tuple[Incoming, Key]]:
    """Read the uploaded file, and yield it with the idempotency key of the request.

    The file is deleted afterwards. Raises ``MalformedRequest`` for the key, the query and malformed JSON, and
    ``InvalidRequest`` for invalid content.
    """
    value = key_value(request)  # checked before anything large is read

    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in FORMATS:
        _refuse_query(request)
    with tempfile.TemporaryFile() as file:
        if media_type == MULTIPART:
            fields = await _from_form(request, file)
        elif media_type == JSON:
            fields = await _from_json(request, file)
        else:
            await _stream(request, file)
            fields = {**dict(request.query_params), "format": FORMATS[media_type]}
        content = digest(file)[0]
        body = orjson.dumps([content, fields.get("provider"), fields["format"], str(fields.get("mapping"))])
        request.state.key = key_of(request, value, body=body, secret=secret)  # a 422 of ``_incoming`` is stored with it
        incoming = _incoming(settlement_id, file, fields, field="query" if media_type in FORMATS else "body")
        mapping = incoming.mapping.model_dump(mode="json") if incoming.mapping else None
        meant = [fields.get("content", content), incoming.provider, incoming.format, mapping]
        meaning = orjson.dumps(meant, option=orjson.OPT_SORT_KEYS)
        key = request.state.key = key_of(request, value, body=body, secret=secret, meaning=meaning)
        yield incoming, key


def _refuse_query(request: Request) -> None:
    """Raise ``MalformedRequest`` for query names that belong in the body, because they would be ignored."""
    if names := list(request.query_params):
        raise MalformedRequest(
            *(Detail(name, "Must be in the body, unless the body is CSV or ndjson") for name in names)
        )


async def _stream(request: Request, file: IO[bytes]) -> None:
    async for piece in request.stream():
        file.write(piece)


async def _from_json(request: Request, file: IO[bytes]) -> dict[str, Any]:
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > MAX_JSON_BYTES:
            raise MalformedRequest(
                Detail("body", f"Must be at most {MAX_JSON_BYTES // 1024} KiB; send a larger file as CSV")
            )
    value = read_json(bytes(raw), exact=True)
    try:
        body = StatementIn.model_validate(value)
    except ValidationError as error:
        findings = [{**finding, "loc": ("body", *finding["loc"])} for finding in error.errors()]
        raise from_validation(findings) from error
    try:
        file.writelines(_json(line).encode() + b"\n" for line in body.lines)
    except RecursionError as error:
        raise InvalidRequest(Detail("lines", "Must not be nested so deeply")) from error
    # The order of names in a line does not matter when two uploads are compared.
    content = hashlib.sha256(canonical_form_of_invalid(body.lines, bytes(raw))).hexdigest()
    return {"provider": body.provider, "mapping": body.mapping, "format": "json_lines", "content": content}


def _json(value: Any) -> str:
    """Serialise ``value`` as JSON, with each number as it was sent."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {_json(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    return value if isinstance(value, JsonNumber) else json.dumps(value)


async def _from_form(request: Request, file: IO[bytes]) -> dict[str, Any]:
    async with request.form(max_files=1, max_fields=2) as form:
        _check_names([name for name, _ in form.multi_items()])
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise InvalidRequest(Detail("file", "This field is required"))
        while piece := await upload.read(MAX_JSON_BYTES):
            file.write(piece)
        format_ = "json_lines" if (upload.filename or "").endswith(("ndjson", "jsonl")) else "csv"
        return {"provider": _text(form, "provider"), "mapping": _text(form, "mapping"), "format": format_}


def _check_names(names: list[str]) -> None:
    """Raise ``MalformedRequest`` if a form repeats a name, ``InvalidRequest`` if it has an unknown name."""
    check_once(names, field="body")
    unknown = [name for name in names if name not in FORM_FIELDS]
    if unknown:
        raise InvalidRequest(
            Detail(unknown[0] if REPEATABLE.fullmatch(unknown[0]) else "body", "There is no such field")
        )


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    return value if isinstance(value, str) and value else None


def _incoming(settlement_id: str, file: IO[bytes], fields: dict[str, Any], *, field: str) -> Incoming:
    error_type = MalformedRequest if field == "query" else InvalidRequest
    try:
        provider = reporting_provider(fields.get("provider"))
    except ValueError as error:
        raise error_type(Detail("provider", str(error))) from error
    mapping = fields.get("mapping")
    if isinstance(mapping, str):
        try:
            value = read_json(mapping.encode(errors="surrogatepass"), field="mapping")
            refuse_card_data(value, "mapping")
            mapping = StatementMapping.model_validate(value)
        except ValidationError as error:
            details = [
                Detail(_path(finding), str(finding["msg"]).removeprefix("Value error, ")) for finding in error.errors()
            ]
            raise error_type(*details) from error
    return Incoming(settlement_id, provider, file, fields["format"], mapping=mapping, is_declared=mapping is not None)


def _path(finding: Any) -> str:
    return ".".join(["mapping", *(str(part) for part in finding["loc"])])
