"""The OpenAPI examples of orders and bills cover each status and have all fields."""

import pytest
from pydantic import BaseModel

from api.openapi.examples.orders import (
    BILL_REQUESTS,
    BILLS,
    COMBINATIONS,
    ORDER_CHANGES,
    ORDER_REQUESTS,
    ORDERS,
    SPLITS,
    Table,
)
from api.schemas.bills import BillIn, BillOut, CombineIn, SplitIn
from api.schemas.orders import OrderIn, OrderOut, OrderPatch
from tests.contract_schemas import fields
from workflows.bills.states import BillStatus
from workflows.orders.states import OrderStatus


def test_every_order_and_bill_status_has_an_example() -> None:
    assert {example["status"] for _, example in ORDERS.values()} == set(OrderStatus)
    assert {example["status"] for _, example in BILLS.values()} == set(BillStatus)


@pytest.mark.parametrize("name", ORDERS)
def test_example_of_an_order_has_the_fields_of_an_answer(name: str) -> None:
    example = ORDERS[name][1]
    assert tuple(example) == fields("order") == tuple(OrderOut.model_fields)
    order = OrderOut.model_validate(example)
    assert order.total_amount == order.subtotal - order.discount_amount + order.tax_amount


@pytest.mark.parametrize("name", BILLS)
def test_example_of_a_bill_has_the_fields_of_an_answer(name: str) -> None:
    example = BILLS[name][1]
    assert tuple(example) == fields("bill") == tuple(BillOut.model_fields)
    bill = BillOut.model_validate(example)
    owed = 0 if bill.status == "voided" else bill.total_amount - bill.paid_amount - bill.reserved_amount
    assert bill.balance_amount == owed


REQUESTS: list[tuple[type[BaseModel], Table]] = [
    (OrderIn, ORDER_REQUESTS),
    (OrderPatch, ORDER_CHANGES),
    (BillIn, BILL_REQUESTS),
    (CombineIn, COMBINATIONS),
    (SplitIn, SPLITS),
]


@pytest.mark.parametrize(("body", "requests"), REQUESTS)
def test_example_requests_for_orders_and_bills_are_valid(body: type[BaseModel], requests: Table) -> None:
    assert requests
    for _, request in requests.values():
        body.model_validate(request)
