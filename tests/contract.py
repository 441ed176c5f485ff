"""Check what tests send and receive against the OpenAPI document.

For each answer that ``tests.harness.Api`` receives, the document must declare the status, media type, headers and every
field of the body. A request that was accepted must be valid, too.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import jsonschema_rs

from api.openapi.walk import objects, operations
from tests.published import published_document, resolved

JSON = "application/json"
BASE = "urn:mpac:openapi"
OURS = (
    "x-request-id",
    "retry-after",
    "www-authenticate",
    "idempotent-replayed",
    "content-disposition",
    "location",
    "etag",
)
"""Response headers that the contract has to declare; all others belong to the transport."""

ERROR = {"$ref": "#/components/schemas/ErrorOut"}


class Contract:
    """An OpenAPI document with its compiled schemas, to check many exchanges against."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = closed(document)
        self._registry = jsonschema_rs.Registry([(BASE, self._document)])
        self._validators: dict[str, Any] = {}
        found = list(operations(self._document))
        self._templates = [(re.compile(_pattern(path)), path) for path in dict.fromkeys(path for path, _, _ in found)]
        self._operations = {(path, method): operation for path, method, operation in found}

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """Return the operation of a request, or ``None`` if the document has none."""
        fitting = [template for pattern, template in self._templates if pattern.fullmatch(path)]
        exact = sorted(fitting, key=lambda template: template.count("{"))  # /bills/combine before /bills/{bill_id}
        return next((each for one in exact if (each := self._operations.get((one, method.lower())))), None)

    def faults(self, method: str, path: str, status: int, headers: Mapping[str, str], raw: bytes) -> Iterable[str]:
        """Yield what the document does not declare in an answer."""
        operation = self.operation(method, path)
        if operation is None:
            if raw and status >= 400 and method != "HEAD":
                yield from self._faults_of(ERROR, json.loads(raw))
            return
        if str(status) not in operation["responses"]:
            yield f"the status {status} is not declared"
            return
        declared = resolved(self._document, operation["responses"][str(status)])
        yield from self._faults_of_headers(declared.get("headers", {}), headers)
        yield from self._faults_of_body(declared.get("content", {}), headers.get("content-type", ""), raw)
        if status >= 400 and raw:
            examples = declared["content"][JSON]["examples"].values()
            code = json.loads(raw)["error"]["code"]
            if code not in {example["value"]["error"]["code"] for example in examples}:
                yield f"the code {code} is not declared for {status}"

    def faults_of_request(self, method: str, path: str, query: Iterable[str], body: bytes | None) -> Iterable[str]:
        """Yield what the document does not declare in an accepted request."""
        operation = self.operation(method, path)
        if operation is None:
            return
        known = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
        yield from (f"the query {name} is not declared" for name in query if name not in known)
        content = operation.get("requestBody", {}).get("content", {})
        if body and JSON in content:
            yield from self._faults_of(content[JSON]["schema"], json.loads(body))

    def _faults_of_headers(self, declared: Mapping[str, Any], sent: Mapping[str, str]) -> Iterable[str]:
        names = {name.lower(): resolved(self._document, header) for name, header in declared.items()}
        yield from (f"the header {name} is not declared" for name in OURS if name in sent and name not in names)
        for name, header in names.items():
            if name in sent:
                kind = header["schema"].get("type")
                yield from self._faults_of(header["schema"], int(sent[name]) if kind == "integer" else sent[name])
            elif header.get("required"):
                yield f"the header {name} is missing"

    def _faults_of_body(self, content: Mapping[str, Any], sent_type: str, raw: bytes) -> Iterable[str]:
        media_type = sent_type.partition(";")[0].strip().lower()
        if not content:
            yield from (["there is an undeclared body"] if raw else [])
        elif media_type not in content:
            yield f"the media type {media_type!r} is not declared"
        elif media_type == JSON:
            yield from self._faults_of(content[JSON]["schema"], json.loads(raw))

    def _faults_of(self, schema: Mapping[str, Any], value: Any) -> Iterable[str]:
        key = schema["$ref"] if "$ref" in schema else json.dumps(schema)
        if key not in self._validators:
            absolute = json.loads(json.dumps(schema).replace('"#/components', f'"{BASE}#/components'))
            self._validators[key] = jsonschema_rs.Draft202012Validator(
                absolute, registry=self._registry, validate_formats=True
            )
        validator = self._validators[key]
        if not validator.is_valid(value):
            for error in validator.iter_errors(value):
                yield f"{'.'.join(map(str, error.instance_path))}: {error.message}"


def closed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``document`` in which no object allows undeclared fields."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    for schema in objects(copy["components"]["schemas"], is_named=True):
        if schema.get("type") == "object" and "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return copy


def _pattern(template: str) -> str:
    return re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(template))


@cache
def contract() -> Contract:
    """Return the ``Contract`` of the published document. It is built once per test process."""
    return Contract(published_document())


def forget_documents() -> None:
    """Drop the cached documents, because the application has changed.

    A test's own provider, for example, changes the application.
    """
    published_document.cache_clear()
    contract.cache_clear()


def check_exchange(
    method: str,
    target: str,
    sent: Mapping[str, str],
    body: bytes | None,
    status: int,
    headers: Mapping[str, str],
    raw: bytes,
) -> None:
    """Raise ``AssertionError`` if the document does not declare an exchange.

    ``target`` is a path with its query.
    """
    path, _, query = target.partition("?")
    found = list(contract().faults(method, path, status, headers, raw))
    if status < 300:
        names = [name for name, _ in parse_qsl(query, keep_blank_values=True)]
        is_json = sent.get("Content-Type") == JSON
        found += contract().faults_of_request(method, path, names, body if is_json else None)
    assert not found, f"{method} {path} answered {status}, and the OpenAPI document says otherwise: {found[:5]}"
