"""The payments of the contract, over real HTTP."""

from tests.factories import Tenant
from tests.harness import Api


async def test_the_references_own_example_comes_out_literally(api: Api, tenant: Tenant) -> None:
    answer = await api.pay(tenant, amount=0)
    assert answer.status == 422
    assert answer.body == {
        "error": {
            "code": "VALIDATION_ERROR",
            "message": "Invalid request parameters",
            "details": [{"field": "amount", "issue": "Must be greater than 0"}],
        }
    }


async def test_a_payment_is_recorded_and_found_again(api: Api, tenant: Tenant) -> None:
    created = await api.pay(tenant)
    assert created.status == 201
    found = await api.get(f"/payments/{created.body['id']}", as_=tenant)
    assert (found.status, found.body) == (200, created.body)
