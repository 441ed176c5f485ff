"""Generators can use the OpenAPI document: references resolve, names are stable, integers have a declared size."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import jsonschema_rs
import pytest

from api.app import PREFIX
from api.media_types import MULTIPART
from api.openapi.description import FATES
from api.openapi.error_section import WHAT_TO_DO
from api.openapi.headers import HEADERS
from api.openapi.integer_formats import fits_32_bits
from api.openapi.operation_ids import operation_id
from api.openapi.tags import TAGS
from api.openapi.walk import objects, operations
from sandbox.faults import FAULTS
from tests.published import published_document, resolved
from tests.unit.docs.operation_ids import OPERATION_IDS
from workflows.errors import every_error
from workflows.ledger.post_journals import AccountKind, JournalKind
from workflows.payments import states
from workflows.payments.states import PaymentStatus
from workflows.processing.decision import CancelReason
from workflows.providers.base import FailureCode, NextActionType
from workflows.reconciliation.classify import Category


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return published_document()


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    references = {each["$ref"] for each in objects(document) if "$ref" in each}
    assert len(references) > 50
    for reference in references:
        assert reference.startswith("#/components/"), reference
        assert resolved(document, {"$ref": reference})


def test_every_component_is_used(document: dict[str, Any]) -> None:
    references = {each["$ref"] for each in objects(document) if "$ref" in each}
    for kind in ("schemas", "headers", "responses"):
        names = {f"#/components/{kind}/{name}" for name in document["components"][kind]}
        assert not names - references, "nothing refers to these"


def test_operation_ids_are_unique_and_never_change(document: dict[str, Any]) -> None:
    found = {operation["operationId"]: f"{method.upper()} {path}" for path, method, operation in operations(document)}
    assert len(found) == len(list(operations(document))), "two operations have one id"
    changed = {name: place for name, place in OPERATION_IDS.items() if found.get(name) != place}
    assert not changed, "generated clients call these operations by these names"
    new = {name: place for name, place in found.items() if name not in OPERATION_IDS}
    assert not new, "say in operation_ids.py that these names are published from now on"


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("post", "/payments/{payment_id}/cancel", "cancelPayment"),
        ("get", "/payments/{payment_id}/refunds", "listPaymentRefunds"),
        ("put", "/stores/{store_id}/statement-policies", "setStoreStatementPolicy"),
        ("delete", "/stores/{store_id}/providers/{provider}", "deleteStoreProvider"),
        ("post", "/ops/dead-letters/{letter_id}/close", "closeDeadLetter"),
    ],
)
def test_an_operation_is_named_by_a_verb_and_a_noun(method: str, path: str, name: str) -> None:
    assert operation_id(method, PREFIX + path) == name


def integers(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for each in objects(document):
        kinds = each.get("type")
        if kinds == "integer" or (isinstance(kinds, list) and "integer" in kinds):
            yield each


def test_every_integer_declares_its_size(document: dict[str, Any]) -> None:
    found = list(integers(document))
    assert len(found) > 100
    for schema in found:
        assert schema["format"] in ("int32", "int64")
        assert schema["format"] == "int64" or fits_32_bits(schema), "a value beyond 32 bits would be cut off"


MONEY = re.compile(
    r"(^|_)(amount|amounts|subtotal|balance|gross|refunds|fees?|adjustments|net|price|cash_\w+|ours|theirs)$"
)


def properties_of_money(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for schema in objects(document):
        for name, each in (schema.get("properties") or {}).items():
            if MONEY.search(name):
                yield name, each


def test_every_query_number_declares_its_minimum_and_maximum(document: dict[str, Any]) -> None:
    listing = {each["name"]: each["schema"] for each in document["paths"][f"{PREFIX}/payments"]["get"]["parameters"]}
    assert (listing["limit"]["minimum"], listing["limit"]["maximum"], listing["limit"]["format"]) == (1, 200, "int32")
    for schema in objects(document):
        if schema.get("type") in ("integer", "number"):
            assert not {"ge", "gt", "le", "lt"} & set(schema), schema


def test_every_amount_of_money_has_64_bits(document: dict[str, Any]) -> None:
    found = list(properties_of_money(document))
    assert {"amount", "tip_amount", "gross", "cash_actual", "balance", "theirs"} <= {name for name, _ in found}
    for name, schema in found:
        for each in integers(schema):
            assert each["format"] == "int64", name


Example = tuple[str, dict[str, Any], Any]
"""The location of an example, its schema and its value."""


def examples(document: dict[str, Any]) -> Iterator[Example]:
    for path, method, operation in operations(document):
        place = f"{method} {path}"
        for parameter in operation.get("parameters", ()):
            yield from examples_of(f"{place} {parameter['name']}", parameter)
        yield from examples_of_bodies(f"{place} request", operation.get("requestBody", {}))
        for status, answer in operation["responses"].items():
            yield from examples_of_bodies(f"{place} {status}", resolved(document, answer))
    for name, header in document["components"]["headers"].items():
        yield from examples_of(name, header)
    for schema in objects(document):
        if isinstance(schema.get("examples"), list):  # a schema has its examples in a list
            yield from ((str(schema), schema, example) for example in schema["examples"])


def examples_of_bodies(place: str, holder: dict[str, Any]) -> Iterator[Example]:
    for media_type, content in holder.get("content", {}).items():
        yield from examples_of(f"{place} {media_type}", content)


def examples_of(place: str, holder: dict[str, Any]) -> Iterator[Example]:
    schema = holder.get("schema", {})
    if "example" in holder:
        yield place, schema, holder["example"]
    for name, example in holder.get("examples", {}).items():
        yield f"{place} {name}", schema, example["value"]


def test_every_example_is_valid(document: dict[str, Any]) -> None:
    wrong, count = [], 0
    validators: dict[str, Any] = {}
    for place, schema, example in examples(document):
        count += 1
        if (key := str(schema)) not in validators:
            whole = {**schema, "components": document["components"]}
            validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        wrong += [f"{place}: {error.message}" for error in validators[key].iter_errors(example)]
    assert not wrong, "\n".join(wrong)
    assert count > 500


def test_every_operation_has_a_described_tag_and_a_description(document: dict[str, Any]) -> None:
    assert [tag["name"] for tag in document["tags"]] == list(TAGS)
    used = {tag for _, _, operation in operations(document) for tag in operation["tags"]}
    assert used == set(TAGS)
    for path, method, operation in operations(document):
        assert len(operation["tags"]) == 1, f"{method} {path}"
        assert operation["description"], f"{method} {path}"


CODED: dict[str, Iterable[str]] = {
    "ErrorCode": [error.code for error in every_error()],
    "Advice": states.Advice,
    "CancelOutcome": states.CancelOutcome,
    "NextActionType": NextActionType,
    "AttemptOutcome": states.AttemptOutcome,
    "MessageKind": states.MessageKind,
    "PaymentStatus": PaymentStatus,
    "Category": Category,
    "AccountKind": AccountKind,
    "JournalKind": JournalKind,
}
OPEN: dict[str, Iterable[str]] = {"FailureCode": FailureCode, "CancelReason": CancelReason}
"""Enumerations of our own values; a provider or caller may add others."""


@pytest.mark.parametrize("name", [*CODED, *OPEN])
def test_a_coded_field_lists_the_values_of_its_table(document: dict[str, Any], name: str) -> None:
    schema = document["components"]["schemas"][name]
    assert schema["type"] == "string"
    if name in OPEN:
        assert schema["x-extensible-enum"] == list(map(str, OPEN[name]))
        assert "enum" not in schema, "an answer may hold another value"
    else:
        assert schema["enum"] == list(dict.fromkeys(map(str, CODED[name])))


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("advice", "Advice"),
        ("failure_code", "FailureCode"),
        ("cancel_reason", "CancelReason"),
        ("cancel_outcome", "CancelOutcome"),
    ],
)
def test_a_payment_names_the_schema_of_its_coded_fields(document: dict[str, Any], field: str, name: str) -> None:
    shown = document["components"]["schemas"]["PaymentOut"]["properties"][field]["anyOf"]
    assert shown == [{"$ref": f"#/components/schemas/{name}"}, {"type": "null"}]


def test_every_parameter_and_answer_is_described(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), f"{method} {path} {parameter['name']}"
        for status, answer in operation["responses"].items():
            said = resolved(document, answer)["description"]
            assert said, f"{method} {path} {status}"
            assert said != "Successful Response", f"{method} {path} {status}"


def test_every_request_body_refuses_unknown_fields(document: dict[str, Any]) -> None:
    count = 0
    for path, method, operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            schema = resolved(document, content["schema"])
            for choice in schema.get("anyOf", [schema]):  # an optional body is either an object or null
                one = resolved(document, choice)
                if one.get("type") == "object":
                    assert one["unevaluatedProperties"] is False, f"{method} {path}"
                    assert "additionalProperties" not in one, "openapi-generator makes a hash map of it"
                    count += 1
    assert count > 20


def test_an_array_of_codes_names_their_enumeration(document: dict[str, Any]) -> None:
    unnamed = [each for each in objects(document) if each.get("type") == "array" and "enum" in each.get("items", {})]
    assert not unnamed, "openapi-generator's Java does not compile with it"


def test_a_form_is_the_first_media_type_of_its_body(document: dict[str, Any]) -> None:
    bodies = [
        list(operation["requestBody"]["content"])
        for _, _, operation in operations(document)
        if "requestBody" in operation
    ]
    with_form = [body for body in bodies if MULTIPART in body]
    assert with_form
    assert all(body[0] == MULTIPART for body in with_form), "openapi-generator imports a class that it does not make"


def test_every_answer_declares_the_request_id(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for status, answer in operation["responses"].items():
            headers = resolved(document, answer)["headers"]
            assert "X-Request-Id" in headers, f"{method} {path} {status}"
            assert set(headers) <= set(HEADERS)


def test_documentation_page_has_every_chapter_error_and_fate(document: dict[str, Any]) -> None:
    page = document["info"]["description"]
    for chapter in ("Tokens", "Rules", "Statuses", "Sandbox fates", "Errors", "Limits", "Generated clients"):
        assert f"## {chapter}\n" in page
    assert set(WHAT_TO_DO) == set(every_error())
    fates = set(re.findall(r"`(\w+)", " ".join(fate for fate, _, _ in FATES)))
    assert fates == set(FAULTS)
    assert document["servers"]
