"""Lines without a statement are listed as uncompared, and only a person signs off such a day."""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import MakeTenant
from tests.factories import Tenant
from tests.harness import Answer, Api
from tests.integration.reconciliation.reconciliation_helpers import Admin, old_sales
from tests.integration.reconciliation.test_fetching_and_due import ACTOR, due_of, row_of
from tests.reconciliation_helpers import LINES, closed_settlement, manager, mirror, statement_file, upload
from tests.reference_matcher import Ours
from workflows.providers.registry import Providers
from workflows.reconciliation.auto_reconcile import reconcile_due
from workflows.reconciliation.reconcile import reconcile_settlement
from workflows.reconciliation.statements.store_file import Incoming, receive_statement
from workflows.settings import Settings
from workflows.tenants.actor import Actor

NOTE = "The card company reports on paper only"
ACCEPTED = {"accept_uncompared": True, "note": NOTE}


def of_terminals(lines: list[Ours]) -> list[Ours]:
    """Return copies of ``lines`` as sales by the terminal's own card application, without fees."""
    return [replace(line, provider="external", fee=0) for line in lines]


async def reconcile(api: Api, tenant: Tenant, settlement_id: str, body: Any = None) -> Answer:
    boss = api.signer.user(tenant, role="store_manager")
    return await api.post(f"/settlements/{settlement_id}/reconcile", body, as_=boss)


async def test_terminal_cards_without_a_statement_are_listed_and_need_an_acceptance(
    api: Api, admin: Admin, tenant: Tenant, settings: Settings
) -> None:
    sales = old_sales(3)
    cards = of_terminals(old_sales(2))
    settlement_id = await closed_settlement(admin, tenant, [*sales, *cards])
    await upload(tenant, settlement_id, map(mirror, sales))
    run = await reconcile_settlement(settlement_id, actor=ACTOR, settings=settings)
    assert (run["status"], run["open_breaks"]) == ("closed", 0)
    amount = sum(line.amount for line in cards)
    named = {"provider": "external", "count": 2, "amount": amount, "fees": 0, "is_policy": False}
    boss = api.signer.user(tenant, role="store_manager")
    seen = (await api.get(f"/settlements/{settlement_id}", as_=boss)).body
    for uncompared in (run["summary"]["uncompared"], seen["uncompared"]):
        assert (uncompared["count"], uncompared["amount"], uncompared["providers"]) == (2, amount, [named])
        assert (uncompared["needs_acceptance"], uncompared["accepted_by"]) == (True, None)
    assert await due_of(settlement_id, settings, sla_hours=24_000) is None  # it does not become due again and again
    for waits, ids in ((True, [settlement_id]), (False, [])):
        listed = await api.get(f"/settlements?status=closed&needs_acceptance={str(waits).lower()}", as_=boss)
        assert [one["id"] for one in listed.body["data"]] == ids
    for language, words in (("en", "Not compared with any statement"), ("ja", "明細と照合していない取引")):
        page = await api.get(f"/settlements/{settlement_id}/report?lang={language}", as_=boss)
        assert words.encode() in page.raw
        assert (await api.get(f"/settlements/{settlement_id}/report.pdf?lang={language}", as_=boss)).status == 200

    for body, field in (
        ({"accept_uncompared": True}, "note"),
        ({"note": NOTE}, "accept_uncompared"),
        ({"accept_uncompared": True, "note": ""}, "note"),
    ):
        refused = await reconcile(api, tenant, settlement_id, body)
        assert (refused.status, refused.details[0]["field"]) == (422, field)
    answer = await reconcile(api, tenant, settlement_id, ACCEPTED)
    assert (answer.status, answer.body["status"]) == (200, "reconciled")
    seen = (await api.get(f"/settlements/{settlement_id}", as_=boss)).body
    accepted = {name: seen["uncompared"][name] for name in ("accepted_by", "note", "needs_acceptance")}
    assert accepted == {"accepted_by": "usr_store_manager", "note": NOTE, "needs_acceptance": False}
    history = await admin.execute(
        "SELECT caller_id, reason FROM settlement_history WHERE settlement_id = %s AND event = 'reconcile'",
        [settlement_id],
    )
    assert await history.fetchall() == [{"caller_id": "usr_store_manager", "reason": NOTE}]
    page = await api.get(f"/settlements/{settlement_id}/report?lang=en", as_=boss)
    assert NOTE.encode() in page.raw


async def test_an_acceptance_holds_for_the_same_lines_and_not_for_others(
    admin: Admin, tenant: Tenant, api: Api, settings: Settings
) -> None:
    sales, cards = old_sales(2), of_terminals(old_sales(2))
    settlement_id = await closed_settlement(admin, tenant, [*sales, *cards])
    await upload(tenant, settlement_id, [mirror(sales[0], amount=1), mirror(sales[1])])
    assert (await reconcile(api, tenant, settlement_id, ACCEPTED)).body["status"] == "closed"  # there is a break
    await upload(tenant, settlement_id, map(mirror, sales))
    assert (await reconcile_settlement(settlement_id, actor=ACTOR, settings=settings))["status"] == "reconciled"


async def test_a_statement_after_an_acceptance_is_compared(
    admin: Admin, tenant: Tenant, api: Api, settings: Settings
) -> None:
    sales, cards = old_sales(2), of_terminals(old_sales(2))
    settlement_id = await closed_settlement(admin, tenant, [*sales, *cards])
    await upload(tenant, settlement_id, [mirror(sales[0], amount=1), mirror(sales[1])])
    await reconcile(api, tenant, settlement_id, ACCEPTED)
    file = statement_file([mirror(cards[0], amount=7), mirror(cards[1])])
    await receive_statement(
        Incoming(settlement_id, "external", file, "csv", mapping=LINES), actor=Actor(manager(tenant))
    )
    run = await reconcile_settlement(settlement_id, actor=ACTOR, settings=settings)
    assert (run["summary"]["uncompared"]["count"], run["open_breaks"]) == (0, 2)


async def test_an_unreported_remote_provider_is_listed_and_nothing_is_booked_for_it(
    admin: Admin, tenant: Tenant, api: Api, settings: Settings
) -> None:
    sales = old_sales(2)
    settlement_id = await closed_settlement(admin, tenant, sales)
    run = await reconcile_settlement(settlement_id, actor=ACTOR, settings=settings)
    assert (run["open_breaks"], run["summary"]["uncompared"]["count"]) == (2, 2)
    boss = api.signer.user(tenant, role="merchant_admin")
    found = (await api.get(f"/settlements/{settlement_id}/breaks", as_=boss)).body["data"]
    for body in ({"resolution": "adjust"}, {"resolution": "write_off", "note": "gone"}):
        answer = await api.post(f"/breaks/{found[0]['id']}/resolve", body, as_=boss)
        assert (answer.status, "No statement of sandbox" in answer.details[0]["issue"]) == (409, True)


async def test_workers_sign_off_a_store_whose_policy_expects_no_statements(
    api: Api, admin: Admin, tenant: Tenant, settings: Settings, make_tenant: MakeTenant, provider: Any
) -> None:
    cards = of_terminals(old_sales(2))
    settlement_id = await closed_settlement(admin, tenant, cards)
    providers = Providers({"sandbox": provider})
    await reconcile_due(settlement_id, worker="worker-of-the-test", settings=settings, providers=providers)
    assert (await row_of(admin, settlement_id))["status"] == "closed"
    path = f"/stores/{tenant.store_id}/statement-policies"
    body = {"provider": "external", "statements": "none", "note": NOTE}
    boss = api.signer.user(tenant, role="merchant_admin")
    other = api.signer.user(await make_tenant(), role="merchant_admin")
    assert (await api.call("PUT", path, body, as_=api.signer.user(tenant, role="store_manager"))).status == 403
    assert (await api.call("PUT", path, body, as_=other)).status == 404
    for wrong in ({**body, "provider": "cash"}, {**body, "statements": "maybe"}, {**body, "note": ""}):
        assert (await api.call("PUT", path, wrong, as_=boss)).status == 422
    answer = await api.call("PUT", path, body, as_=boss)
    assert (answer.status, answer.body["changed_by"], answer.body["note"]) == (200, "usr_merchant_admin", NOTE)
    assert await due_of(settlement_id, settings) == "try_again"
    await reconcile_due(settlement_id, worker="worker-of-the-test", settings=settings, providers=providers)
    row = await row_of(admin, settlement_id)
    assert (row["status"], row["uncompared"]["count"]) == ("reconciled", 2)  # signed off, and listed all the same
    assert row["uncompared"]["providers"][0]["is_policy"]

    assert (
        await api.call("PUT", path, {**body, "statements": "expected", "note": "they send files now"}, as_=boss)
    ).status == 200
    told = (await api.get(path, as_=boss)).body["data"]
    assert [one["statements"] for one in told] == ["expected", "none"]
    assert (await api.get(path, as_=other)).status == 404
    second = await closed_settlement(admin, tenant, of_terminals(old_sales(1)))
    await reconcile_due(second, worker="worker-of-the-test", settings=settings, providers=providers)
    assert (await row_of(admin, second))["status"] == "closed"


@pytest.mark.parametrize("body", [None, {}, {"accept_uncompared": False}])
async def test_a_day_without_lines_is_signed_off(api: Api, admin: Admin, tenant: Tenant, body: Any) -> None:
    settlement_id = await closed_settlement(admin, tenant, [])
    answer = await reconcile(api, tenant, settlement_id, body)
    assert (answer.body["status"], answer.body["summary"]["uncompared"]["count"]) == ("reconciled", 0)


COUNT = "mpac_days_waiting"


async def waiting_days(api: Api) -> dict[tuple[str, str], float]:
    """Return the metrics that count days waiting for a person, by metric name and reason."""
    page = (await api.get("//metrics")).raw.decode()
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    return {(sample.name, sample.labels["reason"]): sample.value for sample in samples if sample.name.startswith(COUNT)}


async def test_days_that_wait_for_a_person_are_counted_with_their_age(
    api: Api, admin: Admin, tenant: Tenant, make_tenant: MakeTenant, settings: Settings
) -> None:
    before = await waiting_days(api)
    assert {reason for _, reason in before} == {"uncompared", "breaks", "cash"}
    settlement_id = await closed_settlement(admin, tenant, of_terminals(old_sales(2)))
    unchanged = await waiting_days(api)  # nothing has been compared yet
    assert all(unchanged[COUNT, reason] == before[COUNT, reason] for _, reason in before)
    await reconcile_settlement(settlement_id, actor=ACTOR, settings=settings)
    broken = await closed_settlement(admin, other := await make_tenant(), sales := old_sales(2))
    await upload(other, broken, map(mirror, sales[:1]))
    await reconcile_settlement(broken, actor=ACTOR, settings=settings)
    await closed_settlement(
        admin,
        await make_tenant(),
        cash := [replace(one, provider="cash") for one in old_sales(1)],
        methods={cash[0].entity_id: "cash"},
    )
    after = await waiting_days(api)
    counts = {reason: after[name, reason] - before[name, reason] for name, reason in before if name == COUNT}
    assert counts == {"uncompared": 1, "breaks": 1, "cash": 1}
    assert all(after["mpac_days_waiting_oldest_seconds", reason] > 0 for reason in counts)
    await reconcile(api, tenant, settlement_id, ACCEPTED)
    assert (await waiting_days(api))[COUNT, "uncompared"] == before[COUNT, "uncompared"]
