"""When two terminals change an order, the one that read an outdated version is refused, and no change is lost."""

import asyncio
from typing import Any

import pytest

from tests.factories import Tenant
from tests.harness import Answer, Api
from tests.integration.orders.order_helpers import RAMEN, RICE, open_order, post_order


async def patch(api: Api, tenant: Tenant, order: dict[str, Any], **change: Any) -> Answer:
    return await api.call("PATCH", f"/orders/{order['id']}", change, as_=tenant)


async def now(api: Api, tenant: Tenant, order: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = (await api.get(f"/orders/{order['id']}", as_=tenant)).body
    return body


def is_stale(answer: Answer, current: int) -> bool:
    """Return whether the answer is a conflict that names the current version."""
    said = [detail for detail in answer.details if detail["field"] == "version"]
    is_named = {"field": "current_version", "issue": str(current)} in answer.details
    return (answer.status, answer.code) == (409, "DUPLICATE_RESOURCE") and str(current) in said[0]["issue"] and is_named


async def test_the_second_of_two_tills_that_read_the_same_version_is_refused(api: Api, tenant: Tenant) -> None:
    for order in (await open_order(api, tenant), (await post_order(api, tenant)).body):
        version = order["version"]
        changes = [{"version": version, "items": [RICE]}, {"version": version, "items": [RAMEN]}]
        answers = await asyncio.gather(*(patch(api, tenant, order, **change) for change in changes))
        assert sorted(answer.status for answer in answers) == [200, 409]
        (refused,) = [answer for answer in answers if answer.status == 409]
        assert is_stale(refused, version + 1), refused.body
        (changed,) = [answer for answer in answers if answer.status == 200]
        assert await now(api, tenant, order) == changed.body


async def test_twenty_concurrent_tills_change_a_version_once(api: Api, tenant: Tenant) -> None:
    order = await open_order(api, tenant)
    items = [{**RICE, "unit_price": 100 + number} for number in range(20)]
    answers = await asyncio.gather(
        *(patch(api, tenant, order, version=order["version"], items=[item]) for item in items)
    )
    assert sorted(answer.status for answer in answers) == [200] + [409] * 19
    assert (await now(api, tenant, order))["version"] == order["version"] + 1


@pytest.mark.parametrize("version", [None, "absent"])
async def test_items_change_only_with_a_version(api: Api, tenant: Tenant, version: Any) -> None:
    order = await open_order(api, tenant)
    sent = {} if version == "absent" else {"version": version}
    refused = await patch(api, tenant, order, items=[RICE], **sent)
    assert (refused.status, refused.code, refused.details[0]["field"]) == (422, "VALIDATION_ERROR", "version")
    assert await now(api, tenant, order) == order


@pytest.mark.parametrize("version", [0, -1, "2", 1.5, True, 2**31, [1]])
async def test_a_version_that_is_not_a_positive_number_is_refused(api: Api, tenant: Tenant, version: Any) -> None:
    order = await open_order(api, tenant)
    for answer in (
        await patch(api, tenant, order, items=[RICE], version=version),
        await patch(api, tenant, order, table_number="9", version=version),
        await api.post(f"/orders/{order['id']}/cancel", {"version": version}, as_=tenant),
    ):
        assert (answer.status, answer.details[0]["field"]) == (422, "version"), answer.body


CHANGES: list[dict[str, Any]] = [{"table_number": "12"}, {"discount_amount": 5}, {"order_type": "takeaway"}, {}]


@pytest.mark.parametrize("change", CHANGES, ids=str)
async def test_change_of_other_fields_checks_a_version_if_one_is_sent(
    api: Api, tenant: Tenant, change: dict[str, Any]
) -> None:
    order = await open_order(api, tenant)
    assert (await patch(api, tenant, order, **change)).status == 200
    current = (await now(api, tenant, order))["version"]
    for stale in (current - 1, current + 1, current + 1_000):
        assert is_stale(await patch(api, tenant, order, **change, version=stale), current)
    assert (await patch(api, tenant, order, **change, version=current)).status == 200


async def test_submit_and_cancel_check_a_version_if_one_is_sent(api: Api, tenant: Tenant) -> None:
    order = (await post_order(api, tenant)).body
    assert (await patch(api, tenant, order, version=1, items=[RICE])).status == 200
    path = f"/orders/{order['id']}"
    for verb, version, status in (("submit", 2, "open"), ("cancel", 3, "cancelled")):
        assert is_stale(await api.post(f"{path}/{verb}", {"version": 1}, as_=tenant), version)
        done = await api.post(f"{path}/{verb}", {"version": version}, as_=tenant)
        assert (done.status, done.body["status"]) == (200, status)
    assert is_stale(await api.post(f"{path}/complete", {"version": 1}, as_=tenant), 4)
