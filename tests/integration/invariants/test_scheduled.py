"""The scheduled check of the invariants is limited in time, runs one at a time, and reports only what it has checked."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.factories import Tenant
from tests.harness import Api
from workflows.invariants import scheduled
from workflows.invariants.rule import Rule
from workflows.invariants.rules import RULES
from workflows.invariants.scheduled import check_on_schedule

Admin = psycopg.AsyncConnection[DictRow]
CLEAN = Rule("I1", "holds", "It holds.", "SELECT 7", "SELECT 'x' AS id, 'p' AS problem WHERE false")
BROKEN = Rule("I2", "broken", "It is broken.", "SELECT 5", "SELECT 'pay_1' AS id, 'wrong' AS problem")
SLOW = Rule(
    "I3",
    "slow",
    "It is cancelled as by its time limit, without waiting for that.",
    "SELECT 1",
    "SELECT 'x' AS id, pg_cancel_backend(pg_backend_pid())::text || pg_sleep(60)::text AS problem",
)
LIMITS = "current_setting('statement_timeout') || ' ' || current_setting('max_parallel_workers_per_gather')"
LIMITED = Rule("I5", "limited", "It tells its limits.", "SELECT 1", f"SELECT 'x' AS id, {LIMITS} AS problem")
WRITES = Rule(
    "I4",
    "writes",
    "It may not write.",
    "SELECT 1",
    "SELECT nextval('payment_messages_number_seq')::text AS id, 'p' AS problem",
)


@pytest.fixture
async def no_checks_yet(
    engines: None, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[pytest.MonkeyPatch]:
    """Yield a database state in which no check was made and the first period has passed."""
    await admin.execute("DELETE FROM invariant_results")
    await admin.execute("DELETE FROM invariant_runs")
    assert await check_on_schedule(period_seconds=0, review_after_seconds=1) == 0, "the first period has to pass"
    await admin.execute("UPDATE invariant_runs SET began_at = now() - interval '1 hour'")
    yield monkeypatch
    await admin.execute("DELETE FROM invariant_results")
    await admin.execute("DELETE FROM invariant_runs")


async def run(*rules: Rule, patch: pytest.MonkeyPatch, period: float = 0.0) -> int:
    """Run the scheduled check with these rules, and return the number of rules checked."""
    patch.setattr(scheduled, "RULES", rules)
    return await check_on_schedule(period_seconds=period, review_after_seconds=86_400)


async def stored_results(admin: Admin) -> dict[str, Any]:
    """Return the stored result of each rule."""
    rows = await (await admin.execute("SELECT * FROM invariant_results")).fetchall()
    return {row["rule"]: row for row in rows}


async def invariants_of(api: Api, tenant: Tenant, role: str = "system_op") -> Any:
    """Return the answer of GET /ops/invariants."""
    return await api.get("/ops/invariants", as_=api.signer.user(tenant, role=role))


async def test_every_rule_of_the_product_is_checked_within_the_usual_limits(
    engines: None, admin: Admin, no_checks_yet: pytest.MonkeyPatch
) -> None:
    no_checks_yet.undo()
    assert await check_on_schedule(period_seconds=0, review_after_seconds=86_400) == len(RULES)
    found = await stored_results(admin)
    assert found.keys() == {rule.name for rule in RULES}
    assert [name for name, row in found.items() if not row["is_finished"]] == []


async def test_results_are_in_the_metrics_and_for_operators_alone(
    api: Api, admin: Admin, tenant: Tenant, no_checks_yet: pytest.MonkeyPatch
) -> None:
    empty = await invariants_of(api, tenant)
    assert (empty.status, empty.body) == (200, {"checked_at": None, "clean": None, "rules": []})
    assert await run(CLEAN, BROKEN, patch=no_checks_yet) == 2
    answer = await invariants_of(api, tenant)
    assert answer.body["clean"] is False
    assert answer.body["checked_at"] is not None
    by_name = {rule["rule"]: rule for rule in answer.body["rules"]}
    assert (by_name["holds"]["checked"], by_name["holds"]["violations"]) == (7, 0)
    assert by_name["broken"]["examples"] == [{"id": "pay_1", "problem": "wrong"}]
    assert (await invariants_of(api, tenant, role="psp_admin")).status == 403
    page = (await api.get("//metrics")).raw.decode()
    assert 'mpac_invariant_violations{invariant="I2",rule="broken"} 1.0' in page
    assert 'mpac_invariant_violations{invariant="I1",rule="holds"} 0.0' in page
    assert "mpac_invariant_rules_broken 1.0" in page
    assert "pay_1" not in page


async def test_a_rule_that_times_out_keeps_its_last_result_and_is_marked_unfinished(
    api: Api, admin: Admin, tenant: Tenant, no_checks_yet: pytest.MonkeyPatch
) -> None:
    await run(CLEAN, SLOW, patch=no_checks_yet)
    found = await stored_results(admin)
    assert (found["holds"]["is_finished"], found["slow"]["is_finished"]) == (True, False)
    assert found["slow"]["violations"] is None
    assert (await invariants_of(api, tenant)).body["clean"] is None, "nothing is known of the slow one"
    assert "mpac_invariant_rules_unfinished 1.0" in (await api.get("//metrics")).raw.decode()
    was_quick = Rule("I3", "slow", "s", "SELECT 1", BROKEN.violations)
    await run(was_quick, patch=no_checks_yet)
    await run(SLOW, patch=no_checks_yet)
    after = (await stored_results(admin))["slow"]
    assert (after["is_finished"], after["violations"]) == (False, 1)
    assert (await stored_results(admin)).keys() == {"slow"}, "a rule that is gone is forgotten"


async def test_checks_run_one_at_a_time_and_start_with_the_rules_that_waited(
    admin: Admin, no_checks_yet: pytest.MonkeyPatch
) -> None:
    no_checks_yet.setattr(scheduled, "RULES", (CLEAN,))
    both = (check_on_schedule(period_seconds=60, review_after_seconds=1) for _ in range(2))
    assert sorted(await asyncio.gather(*both)) == [0, 1]
    for _ in range(2):  # the clock that produced the timestamp is set back, and the next period has begun
        await admin.execute("UPDATE invariant_runs SET began_at = now() + interval '1 day'")
        assert await run(CLEAN, patch=no_checks_yet, period=60) == 1
        assert await run(CLEAN, patch=no_checks_yet, period=60) == 0
    no_checks_yet.setattr(scheduled, "ALL_SECONDS", 0.0)
    assert await run(CLEAN, BROKEN, patch=no_checks_yet) == 0
    no_checks_yet.setattr(scheduled, "ALL_SECONDS", 60.0)
    await run(CLEAN, BROKEN, patch=no_checks_yet)
    found = await stored_results(admin)
    assert found["broken"]["tried_at"] < found["holds"]["tried_at"], "it waited the longest"


async def test_a_rule_has_its_time_limit_and_no_parallel_workers(
    admin: Admin, no_checks_yet: pytest.MonkeyPatch
) -> None:
    await run(LIMITED, patch=no_checks_yet)
    (told,) = (await stored_results(admin))["limited"]["examples"]
    assert told["problem"] == f"{scheduled.RULE_SECONDS}s 0"


async def test_a_scheduled_check_changes_no_row(admin: Admin, no_checks_yet: pytest.MonkeyPatch) -> None:
    await run(WRITES, patch=no_checks_yet)
    assert (await stored_results(admin))["writes"]["is_finished"] is False
