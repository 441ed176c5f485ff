"""Test missing, duplicated, truncated, shuffled and corrected statements over HTTP, and those in another currency (F33).

A hundred breaks of all nine kinds are planted in two thousand lines. Whatever happens to the file, every planted break that
is still in it is found with its category, no other line is called a break, and the plain Python matcher agrees.
"""

from collections import Counter
from random import Random
from typing import Any

import orjson
import psycopg
import pytest
import uuid_utils
from psycopg.rows import DictRow

from mpac.devtools.statement.inject_breaks import CHANGES, inject_breaks
from tests.factories import Tenant
from tests.harness import Answer, Api
from tests.integration.reconciliation.test_scored_at_scale import as_ours, as_theirs, sales_with_twins
from tests.reconciliation_helpers import LINES, books_of, closed_settlement, mirror, statement_file
from tests.reference_matcher import Ours, Theirs, match

Admin = psycopg.AsyncConnection[DictRow]
Found = Counter[tuple[str, str | None]]
SIZE = 2_000
PLANTED = {name: 11 for name in CHANGES} | {"amount_mismatch": 12}
"""A hundred breaks altogether."""

CALM = ("matched", "expected")


class ComparedSettlement:
    """A closed settlement, with the requests of its manager."""

    def __init__(self, api: Api, tenant: Tenant, settlement_id: str) -> None:
        self.api = api
        self.path = f"/settlements/{settlement_id}"
        self.manager = api.signer.user(tenant, role="store_manager")
        self.admin = api.signer.user(tenant, role="merchant_admin")

    async def send(self, lines: list[Theirs]) -> dict[str, Any]:
        """Upload ``lines`` as a file, and return the statement."""
        mapping = orjson.dumps(LINES.model_dump()).decode()
        answer = await self.api.call(
            "POST",
            f"{self.path}/statements?provider=sandbox&mapping={mapping}",
            statement_file(lines).getvalue(),
            as_=self.manager,
            key=uuid_utils.uuid7().hex,
            headers={"Content-Type": "text/csv"},
        )
        assert answer.status == 201, answer.raw
        body: dict[str, Any] = answer.body
        return body

    async def reconcile(self) -> dict[str, Any]:
        """Run the reconciliation, check that its sums are consistent, and return its answer."""
        answer: Answer = await self.api.post(f"{self.path}/reconcile", as_=self.manager)
        assert answer.status == 200, answer.raw
        body: dict[str, Any] = answer.body
        parts = body["summary"]["categories"].values()
        assert sum(part["difference"] for part in parts) == body["summary"]["difference"]
        assert sum(part["fee_difference"] for part in parts) == body["summary"]["fee_difference"]
        return body

    async def breaks(self) -> list[dict[str, Any]]:
        """Return all breaks of the last run, reading page by page."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = (await self.api.get(f"{self.path}/breaks?limit=100{cursor}", as_=self.manager)).body
            found += page["data"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    async def found(self) -> Found:
        """Count the last run's breaks by category and reference."""
        return Counter((one["category"], one["our_reference"]) for one in await self.breaks())


@pytest.fixture
def ours() -> list[Ours]:
    """Return our lines. Some of them have the same provider reference as another line."""
    return sales_with_twins(SIZE, twins=PLANTED["duplicate_internal"])


@pytest.fixture
def spoiled(ours: list[Ours]) -> tuple[list[Theirs], Found]:
    """Return the provider's lines with a hundred planted breaks, and the count of these breaks."""
    lines, truth = inject_breaks([as_ours(line) for line in ours], PLANTED, seed=33)
    return [as_theirs(line) for line in lines], Counter((one.category, one.our_reference) for one in truth)


@pytest.fixture
async def settlement(api: Api, admin: Admin, tenant: Tenant, ours: list[Ours]) -> ComparedSettlement:
    """Insert a closed settlement with our lines."""
    return ComparedSettlement(api, tenant, await closed_settlement(admin, tenant, ours))


def by_reference(ours: list[Ours], theirs: list[Theirs]) -> Found:
    """Count the breaks that the plain Python matcher finds, by category and reference."""
    return Counter(
        (verdict.category, line.our_reference)
        for verdict in match(books_of(ours, theirs))
        if verdict.category not in CALM and (line := verdict.ours or verdict.theirs)
    )


def shuffled(lines: list[Theirs]) -> list[Theirs]:
    return Random(3).sample(lines, len(lines))


async def test_exactly_the_hundred_planted_breaks_are_found_in_any_order_of_lines(
    settlement: ComparedSettlement, ours: list[Ours], spoiled: tuple[list[Theirs], Found]
) -> None:
    lines, truth = spoiled
    assert truth.total() == 100
    for order in (list[Theirs], shuffled):
        await settlement.send(order(lines))
        run = await settlement.reconcile()
        assert await settlement.found() == truth
        assert run["open_breaks"] == 100
    assert by_reference(ours, lines) == truth


async def test_without_a_statement_every_line_is_missing_at_the_provider(
    settlement: ComparedSettlement, ours: list[Ours]
) -> None:
    run = await settlement.reconcile()
    assert run["summary"]["categories"]["missing_at_provider"]["count"] == SIZE - PLANTED["duplicate_internal"]
    assert run["summary"]["difference"] == sum(line.amount for line in ours)
    assert await settlement.found() == by_reference(ours, [])


async def test_a_duplicated_file_has_each_planted_break_and_duplicates_of_all_lines(
    settlement: ComparedSettlement, ours: list[Ours], spoiled: tuple[list[Theirs], Found]
) -> None:
    lines, truth = spoiled
    await settlement.send(lines * 2)
    await settlement.reconcile()
    found = await settlement.found()
    assert truth <= found
    assert {category for category, _ in found - truth} == {"duplicate_provider"}
    assert found == by_reference(ours, lines * 2)


@pytest.mark.parametrize("part", [0.25, 0.9])
async def test_lines_that_a_truncated_file_lacks_are_missing_at_the_provider(
    settlement: ComparedSettlement, ours: list[Ours], spoiled: tuple[list[Theirs], Found], part: float
) -> None:
    lines, truth = spoiled
    kept = lines[: int(len(lines) * part)]
    there = {line.our_reference for line in kept}
    await settlement.send(kept)
    await settlement.reconcile()
    found = await settlement.found()
    assert found == by_reference(ours, kept)
    whole = {one for one in truth if one[1] in there and one[0] not in ("status_mismatch", "duplicate_provider")}
    assert whole <= set(found)
    cut = {line.our_reference for line in ours} - there
    assert {reference for category, reference in found if category == "missing_at_provider"} <= cut
    assert len(cut) > 100


async def test_a_file_in_another_currency_is_a_break_for_each_line_and_no_sum(
    settlement: ComparedSettlement, ours: list[Ours]
) -> None:
    lines = [mirror(line, currency="USD") for line in ours]
    await settlement.send(lines)
    run = await settlement.reconcile()
    assert run["summary"]["theirs"]["amount"] == 0
    assert run["summary"]["categories"]["currency_mismatch"]["count"] == SIZE
    assert await settlement.found() == by_reference(ours, lines)


async def test_a_repeated_file_has_no_effect_and_a_corrected_file_preserves_resolutions(
    settlement: ComparedSettlement, ours: list[Ours], spoiled: tuple[list[Theirs], Found]
) -> None:
    lines, truth = spoiled
    first = await settlement.send(lines)
    await settlement.reconcile()
    before = await settlement.breaks()
    resolved = [one for one in before if one["category"] != "duplicate_internal"][::2]
    for one in resolved:
        body = {"resolution": "ignore", "note": f"looked at {one['our_reference']}"}
        answer = await settlement.api.post(f"/breaks/{one['id']}/resolve", body, as_=settlement.admin)
        assert answer.status == 200, answer.raw

    assert await settlement.send(lines) == first  # the same bytes: nothing was stored
    again = await settlement.reconcile()
    assert again["statement_ids"] == [first["id"]]
    assert again["open_breaks"] == 100 - len(resolved)
    assert {one["id"] for one in await settlement.breaks()} == {one["id"] for one in before}

    mended = {one["our_reference"] for one in before if one["category"] == "amount_mismatch"}
    right = {our.our_reference: mirror(our) for our in ours if our.our_reference in mended}
    corrected = [right.get(line.our_reference, line) for line in lines]
    assert (await settlement.send(shuffled(corrected)))["id"] != first["id"]
    await settlement.reconcile()
    after = {one["id"]: one for one in await settlement.breaks()}
    assert await settlement.found() == Counter(
        {one: count for one, count in truth.items() if one[0] != "amount_mismatch"}
    )
    for one in resolved:
        if one["category"] != "amount_mismatch":
            assert (after[one["id"]]["resolution"], after[one["id"]]["note"]) == (
                "ignore",
                f"looked at {one['our_reference']}",
            )
    assert sum(1 for one in after.values() if one["resolution"]) == sum(
        1 for one in resolved if one["category"] != "amount_mismatch"
    )
