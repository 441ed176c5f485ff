"""Schemathesis sends requests that the OpenAPI document allows and forbids, and checks the answers against it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as search
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from api.routes.documentation import document_of
from tests.conftest import Serve
from tests.factories import Signer, Tenant
from tests.harness import Api
from tests.published import resolved
from workflows.settings import Settings

ALLOWED = {200, 201, 204, 400, 401, 403, 404, 409, 422, 429}
EXAMPLES = 10  # per operation and caller; the whole document takes a few seconds
NEVER_FUZZED = {("PUT", "/api/v1/ops/maintenance")}  # it would close the API under test
TILL = ("/payments", "/orders", "/bills", "/refunds")
"""Paths that staff of a store call; the merchant's administrator calls all others."""
PROMISES = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


@pytest.fixture(scope="module")
def document(settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document that the application publishes."""
    return document_of(create_app(settings), settings)


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> list[APIOperation[Any, Any, Any, Any]]:
    """Return all operations. Schemathesis knows only the older keyword for closed objects, so it is added."""
    known = json.dumps(document).replace('"unevaluatedProperties"', '"additionalProperties"')
    schema = schemathesis.openapi.from_dict(json.loads(known))
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(found) > 10
    return [each for each in found if (each.method.upper(), each.path) not in NEVER_FUZZED]


@pytest.fixture
async def api_with_short_waits(serve: Serve) -> AsyncIterator[Api]:
    """Run the API with a maximum wait of one second."""
    async with serve(max_wait_seconds=1) as api:
        yield api


def send_generated_requests(operation: Any, *, url: str, token: str, session: requests.Session) -> None:
    """Send requests that the document allows and forbids, and check each answer."""
    modes = schemathesis.GenerationMode

    @search(
        max_examples=EXAMPLES,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in (modes.POSITIVE, modes.NEGATIVE))))
    def ask(case: Any) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        answer = case.call(base_url=url, session=session, headers=headers, timeout=20)
        check_answer(case, answer)

    ask()


def check_answer(case: Any, answer: Any) -> None:
    """Check status, error envelope, request id and all else that the document declares of an answer."""
    said = f"{case.method} {case.formatted_path} → {answer.status_code} {answer.content[:300]!r}"
    assert answer.status_code in ALLOWED, said
    assert "x-request-id" in answer.headers, said
    if answer.status_code >= 400:
        body = answer.json()
        assert set(body) == {"error"}, said
        assert set(body["error"]) == {"code", "message", "details"}, said
        assert all(set(detail) == {"field", "issue"} for detail in body["error"]["details"]), said
    case.validate_response(answer, checks=PROMISES)


async def test_answers_to_generated_requests_match_the_document(
    api_with_short_waits: Api, operations: list[Any], signer: Signer, tenant: Tenant
) -> None:
    def run(mine: list[Any]) -> list[str]:
        failures = []
        with requests.Session() as session:
            for operation in mine:
                role = (
                    "staff" if operation.path.startswith(tuple(f"/api/v1{path}" for path in TILL)) else "merchant_admin"
                )
                try:
                    token = signer.user(tenant, role=role)
                    send_generated_requests(operation, url=api_with_short_waits.url, token=token, session=session)
                except BaseException as error:
                    failures.append(f"{operation.label} as {role}: {error}")
        return failures

    told = await asyncio.to_thread(run, operations)
    assert not told, "\n\n".join(told)


def test_every_operation_documents_its_errors_with_examples(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    content = resolved(document, response)["content"]["application/json"]
                    assert content["examples"], f"{method} {path} {status}"


def test_the_document_has_no_status_outside_the_reference(document: dict[str, Any]) -> None:
    told = {
        int(status)
        for methods in document["paths"].values()
        for operation in methods.values()
        for status in operation["responses"]
    }
    assert told <= ALLOWED | {500, 503}


def test_the_document_contains_the_payment_paths_of_the_contract(document: dict[str, Any]) -> None:
    wanted: dict[str, set[str]] = {
        "/api/v1/payments": {"get", "post"},
        "/api/v1/payments/{payment_id}": {"get"},
        "/api/v1/payments/{payment_id}/events": {"get"},
        "/api/v1/payments/{payment_id}/stream": {"get"},
        "/api/v1/payments/{payment_id}/cancel": {"post"},
        "/health/live": {"get"},
        "/health/ready": {"get"},
    }
    for path, methods in wanted.items():
        assert methods <= set(document["paths"][path])
