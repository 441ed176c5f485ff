"""A field, query parameter or form value that is sent twice is refused; otherwise the last value would silently win."""

import pytest

from tests.factories import Tenant
from tests.harness import Api

TWICE = {
    "/payments": b'{"amount": 100, "amount": 100000, "method": {"type": "cash"}}',
    "/payments#deeper": b'{"amount": 100, "method": {"type": "cash", "type": "cash"}}',
    "/payments#metadata": b'{"amount": 100, "method": {"type": "cash"}, "metadata": {"a": {"b": 1, "b": 2}}}',
    "/orders": b'{"order_type": "takeaway", "order_type": "dine_in", "items": []}',
    "/bills": b'{"order_id": "ord_1", "order_id": "ord_2"}',
    "/payments/pay_1/refund": b'{"amount": 1, "reason": "r", "staff_code": "s", "amount": 2}',
    "/payments/pay_1/cancel": b'{"reason": "r", "reason": "s"}',
}


@pytest.mark.parametrize("path", TWICE)
async def test_a_body_that_names_a_field_twice_is_malformed_and_nothing_is_stored(
    api: Api, tenant: Tenant, path: str
) -> None:
    answer = await api.post(path.partition("#")[0], TWICE[path], as_=tenant, key="k")
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.details[0]["field"] == "body"
    assert answer.details[0]["issue"].startswith("Must name ")
    assert (await api.get("/payments", as_=tenant)).body["data"] == []


async def test_repeated_name_is_shown_only_if_it_looks_like_a_field(api: Api, tenant: Tenant) -> None:
    said = await api.post("/payments", TWICE["/payments"], as_=tenant, key="k")
    assert said.details == [{"field": "body", "issue": "Must name amount only once"}]
    number = b'{"4111111111111111": 1, "4111111111111111": 2}'
    unsaid = await api.post("/payments", number, as_=tenant, key="k")
    assert unsaid.details == [{"field": "body", "issue": "Must name the same thing only once"}]


async def test_the_same_name_in_two_objects_is_accepted(api: Api, tenant: Tenant) -> None:
    body = b'{"amount": 100, "method": {"type": "cash"}, "metadata": {"amount": 1, "type": {"type": "x"}}}'
    assert (await api.post("/payments", body, as_=tenant, key="k")).status == 201


async def test_statement_in_json_that_repeats_a_name_is_malformed(api: Api, tenant: Tenant) -> None:
    body = b'{"provider": "sandbox", "provider": "external", "lines": [{"a": 1}]}'
    answer = await api.post(
        "/settlements/stl_1/statements", body, as_=api.signer.user(tenant, role="store_manager"), key="k"
    )
    assert (answer.status, answer.details) == (400, [{"field": "body", "issue": "Must name provider only once"}])


@pytest.mark.parametrize(
    ("names", "status", "detail"),
    [
        (("provider", "provider"), 400, {"field": "body", "issue": "Must name provider only once"}),
        (("provider", "maping"), 422, {"field": "maping", "issue": "There is no such field"}),
    ],
)
async def test_uploaded_form_with_a_repeated_or_unknown_field_is_refused(
    api: Api, tenant: Tenant, names: tuple[str, ...], status: int, detail: dict[str, str]
) -> None:
    fields = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nsandbox\r\n' for name in names]
    file = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\na,b\r\n--x--\r\n'
    answer = await api.post(
        "/settlements/stl_1/statements",
        "".join([*fields, file]).encode(),
        as_=api.signer.user(tenant, role="store_manager"),
        key="k",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert (answer.status, answer.details) == (status, [detail])


async def test_a_form_that_names_a_value_twice_is_malformed(api: Api) -> None:
    form = b"grant_type=password&grant_type=client_credentials&client_assertion_type=x&client_assertion=y"
    answer = await api.post("/auth/device/token", form, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status, answer.details) == (400, [{"field": "body", "issue": "Must name grant_type only once"}])


@pytest.mark.parametrize("query", ["status=pending&status=completed", "limit=1&limit=1", "%6cimit=2&limit=1"])
async def test_a_query_that_names_a_parameter_twice_is_malformed(api: Api, tenant: Tenant, query: str) -> None:
    answer = await api.get(f"/payments?{query}", as_=tenant)
    assert (answer.status, answer.code, answer.details[0]["field"]) == (400, "VALIDATION_ERROR", "query")


@pytest.mark.parametrize("path", ["/orders/ord_1/cancel", "/bills/bil_1/void", "/orders/ord_1/submit"])
async def test_invalid_json_is_malformed_even_if_the_body_is_optional(api: Api, tenant: Tenant, path: str) -> None:
    answer = await api.post(path, b"{", as_=tenant)
    assert (answer.status, answer.details) == (400, [{"field": "body", "issue": "Must be valid JSON"}])
