"""Concurrent reads share a statement, and each caller gets what it may see and nothing else."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import MakeTenant
from tests.factories import CASH, PaymentMaker, move_device
from tests.polling import GENEROUS_SECONDS
from workflows.devices.states import DeviceEvent
from workflows.errors import NotAuthenticated, NotAuthorized, ResourceNotFound
from workflows.payments.queries import PaymentFilter, PaymentReads, list_payments, payment_fields, payment_reads
from workflows.tenants import gathered_reads
from workflows.tenants.caller import CallerRole
from workflows.tenants.gathered_reads import GatheredReads, read_statement
from workflows.tenants.scope import with_progress


@pytest.fixture
def reads(engines: None) -> PaymentReads:
    return payment_reads(timeout_seconds=GENEROUS_SECONDS)


@contextmanager
def groups_of(reads: PaymentReads) -> Iterator[list[int]]:
    """Yield a list that collects the sizes of the groups of ``reads``."""
    sizes: list[int] = []
    flush = reads._flush

    async def counted(group: list[Any]) -> Any:
        sizes.append(len(group))
        return await flush(group)

    reads._group._flush = counted
    yield sizes


async def test_each_caller_of_a_group_gets_its_own_payment(
    payments: PaymentMaker, make_tenant: MakeTenant, reads: PaymentReads
) -> None:
    mine, other = await payments.pending(), await payments.pending(CASH)
    stranger = (await make_tenant()).device
    me = payments.tenant.device
    with groups_of(reads) as sizes:
        found = await asyncio.gather(
            *(reads.read(payment_id, caller=me) for payment_id in (mine, other, "pay_none")),
            reads.read(mine, caller=stranger),
            reads.read(mine, caller=replace(me, store_id="sto_other")),
            return_exceptions=True,
        )
    shown = [type(one) if isinstance(one, BaseException) else one["id"] for one in found]
    assert shown == [mine, other, *[ResourceNotFound] * 3]
    assert sizes[0] == len(found), sizes  # what has to be true for this test to prove anything


async def test_single_read_does_not_wait_for_others(payments: PaymentMaker, reads: PaymentReads) -> None:
    payment_id = await payments.pending()
    with groups_of(reads) as sizes:
        await reads.read(payment_id, caller=payments.tenant.device)
    assert sizes == [1]


async def test_read_shows_what_a_list_shows(payments: PaymentMaker, reads: PaymentReads) -> None:
    payment_id = await payments.pending(CASH, metadata={"lane": 3})
    await payments.process(payment_id)
    manager = replace(payments.tenant.staff, role=CallerRole.STORE_MANAGER)
    show = with_progress(manager, payment_fields)
    (listed,) = await list_payments(PaymentFilter(), caller=manager, limit=2, before=None)
    assert list(show(await reads.read(payment_id, caller=manager)).items()) == list(show(listed).items())


async def test_suspended_device_and_replaced_key_are_refused_and_the_rest_of_the_group_is_not(
    payments: PaymentMaker, make_tenant: MakeTenant, reads: PaymentReads
) -> None:
    payment_id = await payments.pending()
    me, suspended = payments.tenant.device, await make_tenant()
    await move_device(suspended, suspended.device_id, DeviceEvent.SUSPEND)
    found = await asyncio.gather(
        reads.read(payment_id, caller=replace(me, id=suspended.device_id)),
        reads.read(payment_id, caller=replace(me, id="dev_none")),
        reads.read(payment_id, caller=replace(me, client_id="cli_replaced")),
        reads.read(payment_id, caller=me),
        return_exceptions=True,
    )
    assert [type(one) for one in found] == [NotAuthorized, NotAuthorized, NotAuthenticated, dict]


async def test_row_that_a_wrong_statement_returns_is_not_shown_to_another_tenant(
    payments: PaymentMaker, make_tenant: MakeTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = await payments.pending()
    stranger = await make_tenant()
    monkeypatch.setattr(gathered_reads, "scope_condition", lambda **_: "true")
    unfiltered = GatheredReads(
        read_statement("SELECT r.* FROM payments r WHERE r.id = i.id"), build=dict, timeout_seconds=GENEROUS_SECONDS
    )
    callers = (stranger.device, replace(stranger.staff, role=CallerRole.PSP_ADMIN, psp_id="psp_other"))
    for caller in callers:
        with pytest.raises(RuntimeError, match="another tenant"):
            await unfiltered.read(payment_id, caller=caller)
    assert (await unfiltered.read(payment_id, caller=payments.tenant.device))["id"] == payment_id
