"""The SQL matcher and the plain Python matcher give every line the same category, for any lines."""

from collections import Counter
from datetime import timedelta
from random import Random
from typing import Any, cast

import psycopg
import pytest
from psycopg.rows import DictRow
from sqlalchemy import text

from tests.conftest import MakeTenant
from tests.reconciliation_helpers import books_of, closed_settlement, mirror, some_sales, statement_file, upload
from tests.reference_matcher import Books, Classification, Ours, Theirs, match
from workflows.clock import now
from workflows.database.engines import Role, transaction, use_bulk_settings
from workflows.reconciliation.classify import Category
from workflows.reconciliation.match import Comparison, match_lines
from workflows.reconciliation.record_run import summarise
from workflows.settlements.models import LockedSettlement

SEEDS = range(12)
_CLASSIFIED = text("""
    SELECT j.*, o.entity_id, o.kind AS our_kind, t.line_number
    FROM classified j LEFT JOIN ours o ON o.id = j.our_id LEFT JOIN theirs t ON t.id = j.their_id
""")


async def sql_classifications(
    settlement_id: str, statement_id: str, books: Books
) -> tuple[list[Classification], dict[str, Any]]:
    """Return the classifications of the SQL matcher for the same books, and its summary."""
    ours = {(line.kind, line.entity_id): line for line in books.ours}
    theirs = {number: line for number, line in enumerate(books.theirs, start=2)}
    async with transaction(Role.WORKER) as connection:
        await use_bulk_settings(connection)
        found = await connection.execute(text("SELECT * FROM settlements WHERE id = :id"), {"id": settlement_id})
        comparison = Comparison(
            settlement=cast(LockedSettlement, dict(found.mappings().one())),
            statement_ids=[statement_id],
            stated=["sandbox"],
            providers=["sandbox"],
            silent=[],
            is_accepted=False,
            sla_hours={"sandbox": books.sla.total_seconds() / 3600},
            date_tolerance_minutes=books.tolerance.total_seconds() / 60,
        )
        await match_lines(connection, comparison)
        summary, is_explained = await summarise(connection, currency="JPY")
        assert is_explained
        rows = (await connection.execute(_CLASSIFIED)).mappings().all()
    verdicts = [
        Classification(
            row["category"],
            ours[row["our_kind"], row["entity_id"]] if row["entity_id"] else None,
            theirs[row["line_number"]] if row["line_number"] else None,
            *(row[name] for name in ("our_amount", "their_amount", "our_fee", "their_fee")),
        )
        for row in rows
    ]
    return verdicts, summary


def random_books(seed: int, *, size: int = 60) -> Books:
    """Return random lines whose few references, amounts and days collide in every possible way."""
    random = Random(seed)
    base = now().replace(microsecond=0) - timedelta(hours=20)
    references = [f"pay_{seed}x{number}:1" for number in range(size // 2)] + [None]
    theirs_own = [f"sbx_{seed}x{number}" for number in range(size // 3)] + [None]

    def amount(kind: str) -> int:
        value = random.choice([100, 200, 300])
        return value if kind == "payment" else -value

    ours = []
    for number in range(size):
        kind = random.choice(["payment", "payment", "payment", "refund"])
        entity = f"{'rfd' if kind == 'refund' else 'pay'}_{seed}x{number}"
        at = base + timedelta(hours=random.choice([-30, -2, 0, 1, 12]))
        reference = random.choice([f"{entity}:1", f"{entity}:1", random.choice(references)])
        ours.append(
            Ours(kind, entity, reference, random.choice(theirs_own), amount(kind), random.choice([0, 3]), at, at.date())
        )
    theirs = [_their_line(random, random.choice(ours), references, theirs_own, amount) for _ in range(size)]
    attempts = {
        reference: random.random() < 0.5
        for reference in references
        if reference and random.random() < 0.5 and not any(reference == line.our_reference for line in ours)
    }
    return books_of(ours, theirs, attempts=attempts)


def _their_line(random: Random, like: Ours, references: list[Any], theirs_own: list[Any], amount: Any) -> Theirs:
    line = mirror(like)
    possible = (
        ("our_reference", random.choice(references)),
        ("provider_reference", random.choice(theirs_own)),
        ("amount", amount(like.kind)),
        ("currency", "USD"),
        ("fee", random.choice([None, 1])),
        ("at", random.choice([None, like.occurred_at + timedelta(days=random.choice([-2, 1, 3]))])),
        ("is_settled", False),
    )
    changes: dict[str, Any] = {name: value for name, value in possible if random.random() < 0.2}
    if random.random() < 0.2:
        changes |= {"at": None, "on": like.occurred_at.date() + timedelta(days=random.choice([-3, 0, 0, 2]))}
    if random.random() < 0.15 and like.kind == "payment":
        changes |= {"kind": "reversal", "amount": -line.amount}
    if changes.get("our_reference", line.our_reference) is None and not changes.get(
        "provider_reference", line.provider_reference
    ):
        changes["provider_reference"] = "sbx_alone"
    return mirror(like, **changes)


def test_the_random_books_hold_every_category() -> None:
    names = {verdict.category for seed in SEEDS for verdict in match(random_books(seed))}
    assert names == set(Category)


def tally(verdicts: list[Classification]) -> Counter[Classification]:
    return Counter(verdicts)


@pytest.mark.parametrize("seed", SEEDS)
async def test_both_matchers_agree_on_lines_that_collide(
    seed: int, admin: psycopg.AsyncConnection[DictRow], make_tenant: MakeTenant
) -> None:
    books = random_books(seed)
    tenant = await make_tenant()
    settlement_id = await closed_settlement(admin, tenant, books.ours, attempts=books.attempts)
    statement = await upload(tenant, settlement_id, books.theirs)
    found, summary = await sql_classifications(settlement_id, statement["id"], books)
    expected = match(books)
    assert tally(found) == tally(expected)
    # The identity, from the raw lines: ours − theirs equals the sum of the differences by category, fees included.
    ours = sum(line.amount for line in books.ours)
    theirs = ours - sum(verdict.our_amount - verdict.their_amount for verdict in expected)
    assert summary["difference"] == ours - theirs
    assert sum(part["difference"] for part in summary["categories"].values()) == summary["difference"]
    assert sum(part["count"] for part in summary["categories"].values()) == len(found)


async def test_the_order_of_a_file_does_not_change_the_result(
    admin: psycopg.AsyncConnection[DictRow], make_tenant: MakeTenant
) -> None:
    books = random_books(99)
    tenant = await make_tenant()
    settlement_id = await closed_settlement(admin, tenant, books.ours, attempts=books.attempts)
    tallies = []
    for seed in (1, 2):
        Random(seed).shuffle(books.theirs)
        statement = await upload(tenant, settlement_id, books.theirs)
        found, _ = await sql_classifications(settlement_id, statement["id"], books)
        tallies.append(tally(found))
    assert tallies[0] == tallies[1]


def test_the_test_files_have_the_values_of_their_lines() -> None:
    line = mirror(some_sales(1)[0])
    header, row = statement_file([line]).getvalue().decode().splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True))["our_reference"] == line.our_reference
