"""The OpenAPI document has an example of each status and error, and promises nothing that the API does not do."""

import inspect
from typing import Any

import pytest
from fastapi.routing import APIRoute

from api.app import PREFIX, ROUTERS
from api.errors import STATUS
from api.openapi.examples.payments import PAYMENTS, REQUESTS
from api.routes.documentation import ASSETS, asset
from api.schemas.payments import PaymentIn, PaymentOut
from tests.published import published_document, resolved
from workflows.devices.states import DeviceStatus
from workflows.errors import every_error
from workflows.payments.states import PaymentStatus

PAYMENT = "/api/v1/payments/{payment_id}"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return published_document()


def test_every_status_of_a_payment_and_of_a_device_has_an_example(document: dict[str, Any]) -> None:
    assert {row["status"] for _, row in PAYMENTS.values()} == set(PaymentStatus)
    device = document["paths"]["/api/v1/terminals/{device_id}"]["get"]["responses"]["200"]
    assert set(device["content"]["application/json"]["examples"]) == set(DeviceStatus)


def test_example_payments_have_the_fields_of_an_answer(document: dict[str, Any]) -> None:
    shown = document["paths"][PAYMENT]["get"]["responses"]["200"]["content"]["application/json"]["examples"]
    assert set(shown) == set(PAYMENTS)
    for example in shown.values():
        PaymentOut.model_validate(example["value"])
    assert shown["in doubt"]["value"]["advice"] == "do_not_charge_again"


def test_the_examples_of_requests_are_accepted(document: dict[str, Any]) -> None:
    for _, request in REQUESTS.values():
        PaymentIn.model_validate(request)
    create = document["paths"]["/api/v1/payments"]["post"]
    assert set(create["requestBody"]["content"]["application/json"]["examples"]) == set(REQUESTS)
    assert list(create["responses"]["201"]["content"]["application/json"]["examples"]) == ["pending"]


def test_every_possible_error_of_a_route_has_an_example(document: dict[str, Any]) -> None:
    answers = document["paths"]["/api/v1/payments"]["post"]["responses"].values()
    responses = [resolved(document, answer) for answer in answers]
    shown = {name for answer in responses for name in answer["content"]["application/json"]["examples"]}
    assert {error.__name__ for error in every_error()} <= shown


def test_no_route_promises_a_status_outside_the_reference(document: dict[str, Any]) -> None:
    allowed = {"200", "201", "204", *(str(status) for status in STATUS.values())}
    promised = {
        status
        for path in document["paths"].values()
        for operation in path.values()
        for status in operation["responses"]
    }
    assert promised <= allowed
    assert "HTTPValidationError" not in str(document)


READS_ITS_KEY_ITSELF = {"post_statement"}
"""Operations that check the key before they read the body, because the body may be large."""


def test_the_idempotency_key_is_declared_exactly_for_routes_that_take_it(document: dict[str, Any]) -> None:
    taken = {
        (route.path, method.lower())
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        and ("key" in inspect.signature(route.endpoint).parameters or route.endpoint.__name__ in READS_ITS_KEY_ITSELF)
        for method in route.methods or ()
    }
    declared = {
        (path.removeprefix(PREFIX), method)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for parameter in operation.get("parameters", ())
        if parameter["name"] == "Idempotency-Key" and parameter["required"]
    }
    assert declared == taken
    assert len(taken) >= 7, "the signatures say nothing any more"


async def test_files_of_the_documentation_page_are_served() -> None:
    for name in ASSETS:
        assert len((await asset(name)).body) > 0
