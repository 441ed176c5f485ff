"""Corrections that reconciliation booked for a payment or its refund are in the payment's timeline and journals."""

from tests.harness import Api
from tests.integration.settlements.settlement_helpers import SettlementShop
from tests.reconciliation_helpers import upload
from tests.reference_matcher import Theirs
from workflows.settlements.open_periods import open_due_periods


async def reported(shop: SettlementShop, settlement_id: str, **amounts: int) -> list[Theirs]:
    """Return the provider's lines for the settlement's lines, with the amounts given by kind."""
    lines = await shop.lines(settlement_id)
    return [
        Theirs(line["kind"], line["our_reference"], line["provider_reference"], amounts[line["kind"]], line["fee"])
        for line in lines.values()
        if line["provider"] == "sandbox"
    ]


async def test_a_payment_lists_the_corrections_of_itself_and_its_refund(shop: SettlementShop, api: Api) -> None:
    await open_due_periods(worker="worker-of-the-test")
    payment_id, other_id = await shop.sell(1_000), await shop.sell(10, cash=True)
    await shop.make_refund(payment_id, 300)
    settlement = await shop.close_now()
    await upload(shop.tenant, settlement["id"], await reported(shop, settlement["id"], payment=900, refund=-200))

    boss = api.signer.user(shop.tenant, role="merchant_admin")
    run = await api.post(f"/settlements/{settlement['id']}/reconcile", as_=boss)
    assert (run.status, run.body["open_breaks"]) == (200, 2)
    found = (await api.get(f"/settlements/{settlement['id']}/breaks", as_=boss)).body["data"]
    for one in found:
        assert (await api.post(f"/breaks/{one['id']}/resolve", {"resolution": "adjust"}, as_=boss)).status == 200

    told = (await api.get(f"/payments/{payment_id}/events", as_=shop.tenant)).body["data"]
    adjusted = [event for event in told if event["type"] == "adjusted"]
    running = await shop.running()
    assert sorted((event["amount"], event["settlement_id"]) for event in adjusted) == [
        (-100, running["id"]),  # the provider took 100 less from the customer
        (100, running["id"]),  # and refunded 100 less
    ]
    assert all(event["adjustment_id"].startswith("adj_") for event in adjusted)
    assert told[-2:] == adjusted  # after the lines of the settlement that they correct

    journals = (await api.get(f"/ledger/journals?payment_id={payment_id}", as_=boss)).body["data"]
    assert [journal["kind"] for journal in journals].count("adjustment") == 2
    others = (await api.get(f"/payments/{other_id}/events", as_=shop.tenant)).body["data"]
    assert "adjusted" not in [event["type"] for event in others]
