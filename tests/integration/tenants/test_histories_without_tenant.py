"""The history of a payment has no tenant of its own: a caller sees it exactly if the caller sees the payment."""

from dataclasses import replace

import pytest
from sqlalchemy import TextClause, text

from tests.conftest import MakeTenant
from tests.factories import CASH, PaymentMaker, Tenant, submission
from tests.integration.payments.evidence import Admin
from workflows.errors import ServiceUnavailable
from workflows.tenants.caller import Caller, CallerRole, caller_transaction

SEEN = text("SELECT DISTINCT payment_id FROM payment_history WHERE payment_id = ANY(:ids)")
FORGED = text("""
    INSERT INTO payment_history (payment_id, version, event, from_status, to_status, at, caller_type, caller_id)
    VALUES (:id, 99, 'request_cancel', 'completed', 'completed', now(), 'user', 'usr_1')
""")
FORGED_WITH_TENANT = text("""
    INSERT INTO payment_history (payment_id, version, event, from_status, to_status, at, caller_type, caller_id,
        merchant_id, store_id)
    VALUES (:id, 99, 'request_cancel', 'completed', 'completed', now(), 'user', 'usr_1', :merchant_id, :store_id)
""")
FORGED_OF_REFUND = text("""
    INSERT INTO refund_history (refund_id, version, event, from_status, to_status, at, caller_type, caller_id,
        merchant_id, store_id)
    VALUES (:id, 99, 'complete', 'processing', 'completed', now(), 'user', 'usr_1', :merchant_id, :store_id)
""")


async def pay(payments: PaymentMaker, tenant: Tenant) -> str:
    """Return the id of a completed payment of ``tenant``."""
    stored = await payments.accepting.accept_payment(submission(CASH, tenant.device))
    await payments.process(str(stored.resource_id))
    return str(stored.resource_id)


def callers(tenant: Tenant) -> dict[str, Caller]:
    """Return a caller of each scope of ``tenant``."""
    return {
        "store": tenant.device,
        "merchant": Caller("usr_m", CallerRole.MERCHANT_ADMIN, tenant.psp_id, tenant.merchant_id),
        "psp": Caller("usr_p", CallerRole.PSP_ADMIN, tenant.psp_id),
    }


@pytest.mark.parametrize("scope", ["store", "merchant", "psp"])
async def test_a_caller_sees_the_history_of_its_own_payments_only(
    payments: PaymentMaker, tenant: Tenant, make_tenant: MakeTenant, admin: Admin, scope: str
) -> None:
    other = await make_tenant()
    own, foreign = await pay(payments, tenant), await pay(payments, other)
    found = await admin.execute("SELECT * FROM payment_history WHERE payment_id = ANY(%s)", [[own, foreign]])
    rows = await found.fetchall()
    assert [(row["merchant_id"], row["store_id"]) for row in rows] == [(None, None)] * 6
    async with caller_transaction(callers(tenant)[scope]) as connection:
        seen = (await connection.execute(SEEN, {"ids": [own, foreign]})).scalars().all()
    assert seen == [own]


async def test_a_caller_cannot_add_to_the_history_of_a_foreign_payment(
    payments: PaymentMaker, tenant: Tenant, make_tenant: MakeTenant
) -> None:
    foreign = await pay(payments, await make_tenant())
    with pytest.raises(ServiceUnavailable) as caught:
        async with caller_transaction(tenant.device) as connection:
            await connection.execute(FORGED, {"id": foreign})
    assert "row-level security" in str(caught.value.__cause__)


@pytest.mark.parametrize(("forged", "entity"), [(FORGED_WITH_TENANT, "payment"), (FORGED_OF_REFUND, "refund")])
async def test_nor_if_it_names_its_own_tenant(
    payments: PaymentMaker, tenant: Tenant, make_tenant: MakeTenant, forged: TextClause, entity: str
) -> None:
    foreign = await pay(payments, await make_tenant()) if entity == "payment" else "rfd_unknown"
    own = {"merchant_id": tenant.merchant_id, "store_id": tenant.store_id}
    with pytest.raises(ServiceUnavailable) as caught:
        async with caller_transaction(tenant.device) as connection:
            await connection.execute(forged, {"id": foreign, **own})
    assert "row-level security" in str(caught.value.__cause__)


async def test_staff_of_another_store_of_the_merchant_sees_no_history(
    payments: PaymentMaker, tenant: Tenant, admin: Admin
) -> None:
    own = await pay(payments, tenant)
    async with caller_transaction(replace(tenant.staff, store_id="sto_other")) as connection:
        assert not (await connection.execute(SEEN, {"ids": [own]})).all()
