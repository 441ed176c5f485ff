"""I13: no text of the database holds what could be a card number.

All tables and columns are asked of the catalogue, so a new one is judged from its first day. What could be one is
decided here once more and not by ``workflows.card_data``, which is the guard under judgement: 13 to 19 digits, perhaps
in groups, that begin with 2 to 6 and pass the Luhn test. Our own ids, references and hashes are hexadecimal and taken
out first: one in a thousand of them holds such digits by chance.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.invariants.rule import Rule

_COLUMNS = text("""
    SELECT quote_ident(c.relname) AS relation, quote_ident(a.attname) AS name, coalesce(k.key, 't.ctid::text') AS key
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN LATERAL (
        SELECT string_agg(format('t.%I::text', b.attname), $$ || ':' || $$ ORDER BY b.attnum) AS key
        FROM pg_index i JOIN pg_attribute b ON b.attrelid = c.oid AND b.attnum = ANY (i.indkey)
        WHERE i.indrelid = c.oid AND i.indisprimary
    ) k ON true
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND a.atttypid::regtype::text IN ('text', 'text[]', 'character varying', 'character', 'json', 'jsonb')
    ORDER BY c.relname, a.attnum
""")

OURS = "[a-z]{3}_[0-9a-f]{24,64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,}"
DIGITS = "(?<![0-9])[2-6]([ -]?[0-9]){12,18}(?![0-9])"

JUDGEMENT = f"""
    SELECT id, format('%s.%s holds what could be a card number', relation, name) AS problem
    FROM (EVERY_TEXT) AS texts
    CROSS JOIN LATERAL (SELECT DISTINCT regexp_replace(m[1], '[ -]', '', 'g') AS digits
        FROM regexp_matches(regexp_replace(value, '{OURS}', '', 'g'), '({DIGITS})', 'g') AS m) AS found
    CROSS JOIN LATERAL (SELECT sum(CASE WHEN (length(digits) - n) % 2 = 0 THEN d ELSE d * 2 / 10 + d * 2 % 10 END) AS luhn
        FROM (SELECT n, substr(digits, n, 1)::integer AS d FROM generate_series(1, length(digits)) AS n) AS single) AS sums
    WHERE luhn % 10 = 0
    GROUP BY id, relation, name
"""


def _texts(relation: str, name: str, key: str) -> str:
    return f"""
        SELECT {key} AS id, '{relation}' AS relation, '{name}' AS name, t.{name}::text AS value
        FROM {relation} t WHERE t.{name}::text ~ '([0-9][ -]?){{13}}'
    """


class EveryText(Rule):
    """A rule whose query follows from the tables there are."""

    async def query(self, connection: AsyncConnection) -> str:
        """One query over every text column."""
        columns = (await connection.execute(_COLUMNS)).all()
        texts = " UNION ALL ".join(_texts(*column) for column in columns)
        return JUDGEMENT.replace("EVERY_TEXT", texts)


RULES = (
    EveryText(
        invariant="I13",
        name="no card numbers",
        sentence="No text of the database could be a card number.",
        checked=f"SELECT count(*) FROM ({_COLUMNS.text}) AS columns",
        violations="",
    ),
)
