"""Concurrent pages share a statement, and each caller gets the newest rows of its own store and nothing else."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import MakeTenant
from tests.factories import CASH, PaymentMaker, move_device
from tests.polling import GENEROUS_SECONDS
from workflows.devices.states import DeviceEvent
from workflows.errors import InvalidRequest, NotAuthenticated, NotAuthorized
from workflows.payments.queries import EVERYTHING, PaymentFilter, list_payments, payment_fields, payment_pages
from workflows.tenants import gathered_pages
from workflows.tenants.caller import CallerRole
from workflows.tenants.gathered_pages import GatheredPages, page_statement
from workflows.tenants.scope import with_progress


@pytest.fixture
def pages(engines: None) -> GatheredPages:
    return payment_pages(timeout_seconds=GENEROUS_SECONDS)


def ids(page: Any) -> list[str]:
    """Return the ids of a page."""
    return [row["id"] for row in page]


async def test_each_caller_of_a_group_gets_the_page_of_its_own_store(
    payments: PaymentMaker, make_tenant: MakeTenant, pages: GatheredPages
) -> None:
    mine = [await payments.pending() for _ in range(3)][::-1]
    stranger, me = (await make_tenant()).device, payments.tenant.device
    sizes: list[int] = []
    flush = pages._flush

    async def counted(group: list[Any]) -> Any:
        sizes.append(len(group))
        return await flush(group)

    pages._group._flush = counted
    found = await asyncio.gather(
        pages.read(caller=me, limit=9, before=None),
        pages.read(caller=me, limit=2, before=None),
        pages.read(caller=me, limit=9, before=mine[0]),
        pages.read(caller=stranger, limit=9, before=None),
        pages.read(caller=replace(payments.tenant.staff, merchant_id="mer_other"), limit=9, before=None),
    )
    assert [ids(page) for page in found] == [mine, mine[:2], mine[1:], [], []]
    assert sizes[0] == len(found), sizes  # what has to be true for this test to prove anything


@pytest.mark.parametrize("role", [CallerRole.STAFF, CallerRole.STORE_MANAGER])
async def test_page_shows_what_a_walked_list_shows(
    payments: PaymentMaker, pages: GatheredPages, role: CallerRole
) -> None:
    await payments.pending()
    await payments.process(await payments.pending(CASH, metadata={"lane": 3}))
    caller = replace(payments.tenant.staff, role=role)
    show = with_progress(caller, payment_fields)
    shown = [
        [list(show(row).items()) for row in await list_payments(EVERYTHING, caller=caller, limit=5, before=None, **how)]
        for how in ({}, {"pages": pages})
    ]
    assert len(shown[0]) == 2
    assert shown[0] == shown[1]


async def test_only_an_unfiltered_list_of_the_own_store_is_a_gathered_page(
    payments: PaymentMaker, pages: GatheredPages, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = await payments.pending()
    monkeypatch.setattr(pages, "read", None)  # raises if it is called
    tenant = payments.tenant
    above = replace(tenant.staff, role=CallerRole.MERCHANT_ADMIN, store_id="")
    for caller, wanted in ((tenant.device, PaymentFilter(status="pending")), (above, EVERYTHING)):
        assert ids(await list_payments(wanted, caller=caller, limit=5, before=None, pages=pages)) == [payment_id]
    with pytest.raises(InvalidRequest):
        await list_payments(EVERYTHING, caller=tenant.device, limit=5, before="ord_1", pages=pages)


async def test_suspended_device_and_replaced_key_are_refused_and_the_rest_of_the_group_is_not(
    payments: PaymentMaker, make_tenant: MakeTenant, pages: GatheredPages
) -> None:
    payment_id = await payments.pending()
    me, suspended = payments.tenant.device, await make_tenant()
    await move_device(suspended, suspended.device_id, DeviceEvent.SUSPEND)
    callers = (
        replace(me, id=suspended.device_id),
        replace(me, id="dev_none"),
        replace(me, client_id="cli_replaced"),
        me,
    )
    found = await asyncio.gather(
        *(pages.read(caller=caller, limit=5, before=None) for caller in callers), return_exceptions=True
    )
    assert [type(one) for one in found] == [NotAuthorized, NotAuthorized, NotAuthenticated, list]
    assert isinstance(found[3], list)
    assert ids(found[3]) == [payment_id]


async def test_row_that_a_wrong_statement_returns_is_not_shown_to_another_tenant(
    payments: PaymentMaker, make_tenant: MakeTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = await payments.pending()
    stranger = replace((await make_tenant()).device, store_id=payments.tenant.store_id)
    monkeypatch.setattr(gathered_pages, "scope_condition", lambda **_: "true")
    statement = page_statement("payments", "r.id, r.merchant_id, r.store_id")
    unfiltered = GatheredPages(statement, timeout_seconds=GENEROUS_SECONDS)
    with pytest.raises(RuntimeError, match="another tenant"):
        await unfiltered.read(caller=stranger, limit=5, before=None)
    assert ids(await unfiltered.read(caller=payments.tenant.device, limit=5, before=None)) == [payment_id]


async def test_caller_above_the_stores_has_no_page_of_its_own(payments: PaymentMaker, pages: GatheredPages) -> None:
    above = replace(payments.tenant.staff, role=CallerRole.PSP_ADMIN)
    with pytest.raises(ValueError, match="of a store"):
        await pages.read(caller=above, limit=5, before=None)
