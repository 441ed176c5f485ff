"""The OpenAPI examples of refunds cover each status and have all fields."""

from enum import StrEnum

import pytest

from api.openapi.add_examples import SCHEMAS
from api.openapi.examples.refunds import REFUND_REQUESTS, REFUNDS
from api.schemas.refunds import RefundIn, RefundOut
from tests.contract_schemas import fields
from workflows.bills.states import BillStatus
from workflows.orders.states import OrderStatus
from workflows.payments.states import PaymentStatus
from workflows.refunds.states import RefundStatus
from workflows.tenants.scope import PROGRESS


def test_refund_examples_cover_every_status_and_an_unknown_outcome() -> None:
    assert {example["status"] for _, example in REFUNDS.values()} == set(RefundStatus)
    assert [name for name, (_, example) in REFUNDS.items() if not example["outcome_known"]] == ["in doubt"]


@pytest.mark.parametrize("name", REFUNDS)
def test_example_of_a_refund_has_the_fields_of_an_answer(name: str) -> None:
    example = REFUNDS[name][1]
    assert tuple(example) == fields("refund")
    assert (*fields("refund"), *PROGRESS) == tuple(RefundOut.model_fields)
    refund = RefundOut.model_validate(example)
    assert bool(refund.completed_at) == (refund.status == "completed")
    assert bool(refund.failed_at) == (refund.status == "failed")


def test_example_requests_for_refunds_are_valid() -> None:
    for _, request in REFUND_REQUESTS.values():
        RefundIn.model_validate(request)


@pytest.mark.parametrize(
    ("schema", "statuses"),
    [("OrderOut", OrderStatus), ("BillOut", BillStatus), ("RefundOut", RefundStatus), ("PaymentOut", PaymentStatus)],
)
def test_document_shows_a_refund_in_each_status(schema: str, statuses: type[StrEnum]) -> None:
    assert {example["value"]["status"] for example in SCHEMAS[schema].values()} == set(statuses)


@pytest.mark.parametrize("schema", ["OrderIn", "OrderPatch", "BillIn", "CombineIn", "SplitIn", "PaymentIn", "RefundIn"])
def test_document_shows_examples_of_refund_requests(schema: str) -> None:
    assert SCHEMAS[schema]
