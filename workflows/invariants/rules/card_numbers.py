r"""I13: no text of the database and no stored file contains a possible card number.

All tables and columns come from the catalogue, so new ones are checked at once. The rules of ``workflows.card_data`` are
repeated here in SQL on purpose, because that module is what this rule audits; a test compares both.

| step | what |
|---|---|
| texts | every text and array; each name and value of a JSON document; each ASCII cell of a stored file |
| fold | digits of any script become ASCII, invisible characters are removed, other marks become ``-``, ids become ``x`` |
| runs | at least 13 digits, with up to three separators between two of them |
| windows | each group of digits; neighbouring groups of one size, or sized as on cards; a whole run with one separator |
| numbers | length and first digits of a card brand, and the Luhn test |
"""

import unicodedata
from collections.abc import Callable
from functools import cache

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.invariants.rule import Rule

_COLUMNS = text("""
    SELECT quote_ident(c.relname) AS relation, quote_ident(a.attname) AS name, coalesce(k.key, 't.ctid::text') AS key,
           a.atttypid::regtype::text AS type
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN LATERAL (
        SELECT string_agg(format('t.%I::text', b.attname), $$ || ':' || $$ ORDER BY b.attnum) AS key
        FROM pg_index i JOIN pg_attribute b ON b.attrelid = c.oid AND b.attnum = ANY (i.indkey)
        WHERE i.indrelid = c.oid AND i.indisprimary
    ) k ON true
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND (a.atttypid::regtype::text IN ('text', 'text[]', 'character varying', 'character', 'json', 'jsonb')
           OR (c.relname, a.attname) = ('statement_chunks', 'data'))
    ORDER BY c.relname, a.attnum
""")

_LAST = 0x1FFFF  # no script has digits beyond this code point
_ESCAPED = "\\U"
_PARTS_JSON = r'"\[\]{}'
SEPARATORS = rf"[^0-9A-Za-z{_PARTS_JSON}\u0080-\U0010ffff]{{0,3}}"
_BYTE = r"\\[0-7]{3}"
# A group that does not capture, which is faster. The colon is escaped, because SQLAlchemy would take it for a parameter.
_GROUP = r"(?\:"
RUN = f"[0-9]{_GROUP}{SEPARATORS}[0-9]){{12,}}"
_HEX = "[0-9a-f]"
_UUID = f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
_WORDS = f"{_HEX}{{32,}}|(?=[0-9]*[a-f]+[0-9]+[a-f]){_HEX}{{24,}}"
_ALONE = r"[0-9a-z\u0080-\U0010ffff])"
IDS = f"(?<!{_ALONE}{_GROUP}{_UUID}|{_WORDS})(?!{_ALONE}"

NUMBER = """
    (length(digits) IN (13, 16, 19) AND digits ~ '^4')
    OR (length(digits) = 15 AND digits ~ '^3[47]')
    OR (length(digits) = 16 AND digits ~ '^(5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720|60|8[12]|9792)')
    OR (length(digits) BETWEEN 14 AND 19 AND digits ~ '^(30[0-5]|3095|3[689])')
    OR (length(digits) BETWEEN 16 AND 19 AND digits ~ '^(6011|64[4-9]|65|62|35(2[89]|[3-8][0-9])|220[0-5])')
    OR (length(digits) IN (16, 18, 19) AND digits ~ '^(50|5[6-8]|6[37])')
    OR digits ~ '^(50(18|20|38)|5893|6304|67(59|6[1-3]))'
"""

QUERY = f"""
    WITH with_enough_digits (pattern) AS (VALUES ('MANY_DIGITS'))
    SELECT DISTINCT id, format('%s.%s holds what could be a card number', relation, name) AS problem
    FROM (EVERY_TEXT) AS texts
    -- OFFSET 0 makes PostgreSQL compute each step once instead of wherever it is used
    CROSS JOIN LATERAL (SELECT regexp_replace(FOLDED, '{IDS}', 'x', 'gi') AS folded OFFSET 0) AS f
    CROSS JOIN LATERAL (SELECT m[1] AS run FROM regexp_matches(folded, '{RUN}', 'g') AS m OFFSET 0) AS runs
    CROSS JOIN LATERAL (SELECT regexp_split_to_array(run, '[^0-9]+') AS groups OFFSET 0) AS split
    CROSS JOIN LATERAL (
        SELECT i, j, CASE WHEN i = j THEN ltrim(groups[i], '0') ELSE array_to_string(groups[i:j], '') END AS digits,
               array_to_string(groups[i:j], '-') AS written, length(groups[i]) AS size
        FROM generate_series(1, cardinality(groups)) AS i
        CROSS JOIN LATERAL generate_series(i, least(i + 18, cardinality(groups))) AS j OFFSET 0) AS windows
    CROSS JOIN LATERAL (SELECT sum(CASE WHEN (length(digits) - n) % 2 = 0 THEN d ELSE d * 2 / 10 + d * 2 % 10 END) AS luhn,
                               sum(CASE WHEN n % 2 = 0 THEN d * 3 ELSE d END) AS bar_code
        FROM (SELECT n, substr(digits, n, 1)::integer AS d FROM generate_series(1, length(digits)) AS n
              WHERE length(digits) BETWEEN 13 AND 19 AND ({NUMBER})) AS single) AS sums
    WHERE luhn % 10 = 0 AND NOT (length(digits) = 13 AND bar_code % 10 = 0)
      AND (i = j
           OR written ~ format('^([0-9]{{%s}}-)+[0-9]{{1,%s}}$', size, size)
           OR written ~ '^([0-9]{{4}}-[0-9]{{6}}-[0-9]{{4,5}}|[0-9]{{4}}(-[0-9]{{3}}){{3}})$'
           OR written ~ '^[0-9]{{6}}-([0-9]{{9,10}}|[0-9]{{13}})$'
           OR (i = 1 AND j = cardinality(groups)
               AND (run ~ '^[0-9 .-]+$'
                    OR 1 = (SELECT count(DISTINCT s[1]) FROM regexp_matches(run, '([^0-9]+)', 'g') AS s))))
"""


@cache
def fold_digits(column: str) -> str:
    """Return an SQL expression that replaces the digits and separators of ``column`` by ASCII ones."""
    digits = "".join(map(chr, filter(_is_digit, range(0x80, _LAST))))
    values = "".join(str(int(unicodedata.numeric(digit))) for digit in digits)
    without_invisible = f"regexp_replace({column}, '{_bracket_expression(_is_invisible)}', '', 'g')"
    with_hyphens = f"regexp_replace({without_invisible}, '{_bracket_expression(_is_mark)}', '-', 'g')"
    translated = f"translate({with_hyphens}, '{digits}', '{values}')"
    return f"CASE WHEN {column} ~ '[^\\u0001-\\u007f]' THEN {translated} ELSE {column} END"


def _is_digit(code: int) -> bool:
    return unicodedata.numeric(chr(code), -1) in range(10)


def _is_invisible(code: int) -> bool:
    return unicodedata.category(chr(code)) in ("Cf", "Mn", "Me") and not _is_digit(code)


def _is_mark(code: int) -> bool:
    category = unicodedata.category(chr(code))
    return (category[0] in "ZPS" or category in ("Lm", "Cc")) and not _is_digit(code)


def _bracket_expression(belongs: Callable[[int], bool]) -> str:
    """Return a bracket expression for the characters beyond ASCII for which ``belongs`` is true."""
    ranges: list[list[int]] = []
    for code in filter(belongs, range(0x80, _LAST)):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "[" + "".join(f"{_ESCAPED}{first:08x}-{_ESCAPED}{last:08x}" for first, last in ranges) + "]"


def _texts(relation: str, name: str, key: str, type_: str) -> str:
    """Return a query of all texts in one column that have enough digits for a card number."""
    source, value = f"{relation} t", f"t.{name}::text"
    if type_ in ("json", "jsonb"):
        source += f""", LATERAL (
            SELECT part #>> '{{}}' AS text FROM jsonb_path_query(t.{name}::jsonb, 'strict $.**') AS part
            WHERE jsonb_typeof(part) IN ('string', 'number')
            UNION ALL SELECT key FROM jsonb_path_query(t.{name}::jsonb, 'strict $.**') AS part,
                LATERAL jsonb_object_keys(CASE jsonb_typeof(part) WHEN 'object' THEN part ELSE '{{}}' END) AS key) AS p"""
        value = "p.text"
    elif type_ == "text[]":
        value = f"array_to_string(t.{name}, '\"')"
    elif type_ == "bytea":  # 'escape' writes bytes beyond ASCII with digits; these marks separate the cells of a file
        ascii_ = f"regexp_replace(encode(t.{name}, 'escape'), '{_BYTE}', 'x', 'g')"
        value = f"translate({ascii_}, E',;\\t|\\r\\n', repeat('\"', 6))"
    return f"""
        SELECT {key} AS id, '{relation}' AS relation, '{name}' AS name, {value} AS value
        FROM {source} WHERE {value} ~ (SELECT pattern FROM with_enough_digits)
    """


@cache
def many_digits_pattern() -> str:
    """Return a pattern for texts with enough digits for a card number.

    Most texts have too few digits, and folding is slow.
    """
    return rf"{_GROUP}[0-9{_bracket_expression(_is_digit)[1:-1]}][^0-9A-Za-z{_PARTS_JSON}]{{0,6}}){{13}}"


class EveryText(Rule):
    """A rule whose query is built from the tables and columns of the database."""

    async def query(self, connection: AsyncConnection) -> str:
        """Return one query over every text column."""
        columns = (await connection.execute(_COLUMNS)).all()
        return violations_among(" UNION ALL ".join(_texts(*column) for column in columns))


def violations_among(texts: str) -> str:
    """Return the query that finds card numbers among ``texts``.

    ``texts`` is a query of ``id``, ``relation``, ``name`` and ``value``.
    """
    query = QUERY.replace("FOLDED", fold_digits("value")).replace("MANY_DIGITS", many_digits_pattern())
    return query.replace("EVERY_TEXT", texts)


RULES = (
    EveryText(
        invariant="I13",
        name="no card numbers",
        sentence="No text of the database could be a card number.",
        checked=f"SELECT count(*) FROM ({_COLUMNS.text}) AS columns",
        violations="",
    ),
)
