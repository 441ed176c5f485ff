"""Operations above the scope of a caller are refused, and a store sees the rows that belong to its merchant as a whole."""

import pytest

from workflows.devices.register import onboard_devices
from workflows.errors import NotAuthorized, ResourceNotFound
from workflows.ledger.models import LedgerAccount
from workflows.settlements.models import Settlement
from workflows.tenants.caller import Caller, CallerRole
from workflows.tenants.merchants import register_psp
from workflows.tenants.scope import visible_to
from workflows.tenants.stores import StoreRequest, open_store

MANAGER = Caller("usr_1", CallerRole.STORE_MANAGER, "psp_1", "mer_1", "sto_1")
BELOW_SYSTEM = [
    MANAGER,
    Caller("usr_2", CallerRole.MERCHANT_ADMIN, "psp_1", "mer_1"),
    Caller("usr_3", CallerRole.PSP_ADMIN, "psp_1"),
]


@pytest.mark.parametrize("caller", BELOW_SYSTEM, ids=lambda caller: str(caller.role))
async def test_only_a_system_operator_registers_psps_and_onboards_devices(caller: Caller) -> None:
    with pytest.raises(NotAuthorized):
        await register_psp("A PSP", caller=caller)
    with pytest.raises(NotAuthorized):
        await onboard_devices([], caller=caller)


async def test_a_caller_of_a_store_registers_no_other_store() -> None:
    with pytest.raises(ResourceNotFound):
        await open_store(StoreRequest("A store"), merchant_id=None, caller=MANAGER)


def test_a_store_sees_the_rows_of_its_merchant_that_belong_to_no_store() -> None:
    def columns(conditions: list[object]) -> list[str]:
        return [str(condition).partition(" ")[0] for condition in conditions]

    assert columns([*visible_to(MANAGER, Settlement.merchant_id, Settlement.store_id)]) == [
        "settlements.merchant_id",
        "settlements.store_id",
    ]
    assert columns([*visible_to(MANAGER, LedgerAccount.merchant_id)]) == ["ledger_accounts.merchant_id"]
