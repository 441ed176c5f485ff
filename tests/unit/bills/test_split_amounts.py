"""Splits of a bill: worked examples, and properties that hold for every split."""

from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workflows.bills.models import BillRow
from workflows.bills.split_amounts import BillPart, equal_parts, parts_of_amounts, parts_of_items
from workflows.errors import InvalidRequest


def bill(subtotal: int, tax: int = 0, discount: int = 0, currency: str = "JPY") -> BillRow:
    total = subtotal - discount + tax
    amounts = {
        "subtotal": subtotal,
        "tax_amount": tax,
        "discount_amount": discount,
        "total_amount": total,
        "currency": currency,
    }
    return cast(BillRow, amounts)


def totals(parts: list[BillPart]) -> list[int]:
    return [part.total_amount for part in parts]


@pytest.mark.parametrize(
    ("whole", "parts", "expected"),
    [
        (bill(100), 3, [34, 33, 33]),
        (bill(93, tax=7), 3, [34, 33, 33]),
        (bill(3), 3, [1, 1, 1]),
        (bill(1000, tax=79, discount=101), 4, [245, 245, 244, 244]),
        (bill(1999, tax=177, currency="USD"), 7, [311, 311, 311, 311, 311, 311, 310]),
        (bill(4995, tax=200, currency="KWD"), 3, [1732, 1732, 1731]),
    ],
)
def test_equal_parts_give_the_remainder_to_the_first_parts(whole: BillRow, parts: int, expected: list[int]) -> None:
    assert totals(equal_parts(whole, parts)) == expected


def test_splitting_two_yen_into_three_parts_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        equal_parts(bill(2), 3)
    assert refused.value.details[0].field == "parts"


def test_parts_of_amounts_divide_tax_and_discount_too() -> None:
    found = parts_of_amounts(bill(1000, tax=79, discount=101), [500, 478])
    # tax 79 × 500/978 = 40.4 and 38.6; discount 101 × 500/978 = 51.6 and 49.4
    assert found == [
        BillPart(subtotal=512, tax_amount=40, discount_amount=52),
        BillPart(subtotal=488, tax_amount=39, discount_amount=49),
    ]


@pytest.mark.parametrize("amounts", [[500, 479], [500, 477], [979]])
def test_amounts_that_do_not_sum_to_the_bill_are_refused(amounts: list[int]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parts_of_amounts(bill(1000, tax=79, discount=101), amounts)
    assert refused.value.details[0].field == "amounts"


def item(subtotal: int, rate: str) -> dict[str, Any]:
    return {"subtotal": subtotal, "tax_rate": Decimal(rate)}


ITEMS = {"a": item(600, "0.08"), "b": item(400, "0.10"), "c": item(0, "0.10")}


def test_parts_of_items_pay_the_tax_of_their_own_rates() -> None:
    found = parts_of_items(bill(1000, tax=88), [["a"], ["b", "c"]], ITEMS)
    assert found == [BillPart(600, 48, 0, ("a",)), BillPart(400, 40, 0, ("b", "c"))]


@pytest.mark.parametrize(
    "groups",
    [[["a"], ["b"]], [["a", "b"], ["b", "c"]], [["a", "b", "c"], ["d"]], [["a", "b"], ["c"]], [["a", "a"], ["b", "c"]]],
    ids=["one is missing", "one is named twice", "one is not of this bill", "one comes to nothing", "twice in a part"],
)
def test_item_groups_that_are_not_a_partition_are_refused(groups: list[list[str]]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parts_of_items(bill(1000, tax=88), groups, ITEMS)
    assert refused.value.details[0].field.startswith("items")


def check(whole: BillRow, parts: list[BillPart]) -> None:
    for name in ("subtotal", "tax_amount", "discount_amount", "total_amount"):
        assert sum(getattr(part, name) for part in parts) == whole[name], name
    for part in parts:
        assert part.total_amount > 0
        assert part.subtotal >= part.discount_amount >= 0
        assert part.tax_amount >= 0


BILLS = st.builds(
    lambda subtotal, tax, discount: bill(subtotal, tax, min(discount, subtotal)),
    st.integers(1, 10**9),
    st.integers(0, 10**8),
    st.integers(0, 10**9),
)


@given(BILLS, st.integers(2, 100), st.data())
def test_parts_and_parts_of_parts_sum_to_the_whole(whole: BillRow, count: int, data: st.DataObject) -> None:
    assume(whole["total_amount"] >= count)
    parts = equal_parts(whole, count)
    check(whole, parts)
    first = bill(parts[0].subtotal, parts[0].tax_amount, parts[0].discount_amount)
    if first["total_amount"] > 1:
        cut = data.draw(st.integers(1, first["total_amount"] - 1))
        check(first, parts_of_amounts(first, [cut, first["total_amount"] - cut]))


@given(
    st.lists(
        st.tuples(st.integers(1, 10**6), st.sampled_from(["0", "0.08", "0.10", "0.08875"])), min_size=2, max_size=20
    ),
    st.data(),
)
def test_parts_of_items_sum_to_the_whole(found: list[tuple[int, str]], data: st.DataObject) -> None:
    items = {str(number): item(subtotal, rate) for number, (subtotal, rate) in enumerate(found)}
    subtotal = sum(each["subtotal"] for each in items.values())
    discount = data.draw(st.integers(0, subtotal // 2))
    tax = round(sum(each["subtotal"] * each["tax_rate"] for each in items.values()))
    whole = bill(subtotal, tax, discount)
    ids = list(items)
    cut = data.draw(st.integers(1, len(ids) - 1))
    try:
        parts = parts_of_items(whole, [ids[:cut], ids[cut:]], items)
    except InvalidRequest:
        assume(False)  # a discount may reduce a small part to zero
    else:
        check(whole, parts)
