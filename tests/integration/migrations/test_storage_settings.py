"""How tables are stored: updates of the hot path touch no index, and autovacuum is set and explained per table."""

import re

import pytest

from mpac.stack.state_folder import ROOT
from tests.integration.payments.evidence import Admin, all_of
from workflows.payments import record
from workflows.processing import shared_statements
from workflows.refunds import record as refund_record
from workflows.settlements import lines

ASSIGNED = re.compile(r"\b(?:SET|,)\s+(\w+) = ")
UPDATE = re.compile(r"UPDATE (\w+) \w+\s+(SET .*?)(?:FROM|WHERE) ", re.DOTALL)

SAME_IN_THE_ORDINARY_CASE = {"outcome_known", "needs_review", "card_last_4"}
"""Columns of partial indexes that a record sets to the value they have, unless the outcome is in doubt or a provider sends
the last digits of a card. Such an update is not HOT."""

INDEXED = b"""
    SELECT DISTINCT a.attname FROM pg_index i
    JOIN pg_depend d ON d.objid = i.indexrelid AND d.classid = 'pg_class'::regclass AND d.refobjid = i.indrelid
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid
    WHERE i.indrelid = CAST(%s AS regclass)
    UNION SELECT a.attname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey)
    WHERE c.conrelid = CAST(%s AS regclass) AND c.contype IN ('p', 'u')
"""
"""The columns of a table's indexes and of their conditions."""


def assigned(statement: str, table: str) -> set[str]:
    """Return the columns of ``table`` that ``statement`` sets."""
    return {
        name
        for updated, assignments in UPDATE.findall(re.sub(r"--.*", "", statement))
        if updated == table
        for name in ASSIGNED.findall(assignments)
    }


@pytest.mark.parametrize("entity", ["payment", "refund"])
async def test_claim_record_and_close_change_no_indexed_column(admin: Admin, entity: str) -> None:
    table = f"{entity}s"
    recorded = record._RECORD if entity == "payment" else refund_record._RECORD
    templates = (shared_statements.START, shared_statements.RESUME, lines._MARK)
    statements = [template.replace("{entity}", entity).replace("{month}", "") for template in templates]
    changed = {
        name
        for statement in (*statements, str(recorded))
        for name in assigned(statement.replace("{kind}", entity), table)
    }
    assert {"status", "due_at", "settlement_id", "completed_at", "provider_reference"} <= changed, "they were not found"
    indexed = {row["attname"] for row in await all_of(admin, INDEXED, table, table)}
    assert {"id", "store_id", "outcome_known"} <= indexed, "they were not found"
    assert changed & indexed <= SAME_IN_THE_ORDINARY_CASE


async def test_the_vacuum_settings_of_a_table_are_explained_in_the_documents(admin: Admin) -> None:
    rows = await all_of(
        admin,
        b"""
        SELECT DISTINCT coalesce(p.relname, c.relname) AS relname FROM pg_class c
        LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
        WHERE c.relkind = 'r' AND c.reloptions::text ~ 'autovacuum'
        """,
    )
    page = (ROOT / "docs" / "production.md").read_text()
    section = page.partition("### Autovacuum")[2].partition("\n#")[0]
    explained = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE))))
    assert explained == {row["relname"] for row in rows}
