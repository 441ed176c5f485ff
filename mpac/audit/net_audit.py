"""Check that settlements with their adjustments equal the provider's ledger, reference by reference (I15).

Each reference that the provider received is compared, per store and currency, after fees:

| side     | amount of a reference                                                                           |
|----------|-------------------------------------------------------------------------------------------------|
| books    | its settlement lines, final rows that wait for a close, and every correction booked for it      |
| provider | what its ledger moved: charges less reversals and refunds, less the fees that it retained       |

| they differ, and                                                           | then                                  |
|----------------------------------------------------------------------------|---------------------------------------|
| its payment or refund is not final                                         | set aside: it may have moved money    |
| a correction was booked, and the books agree with the provider's statement | explained by the statement            |
| anything else                                                              | broken                                |

``balance_audit`` compares the same books without corrections, so it can't find a correction for money that the books already
contained. This audit can. Our books are read before the provider's ledger.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from mpac.audit.our_balances import open_snapshot
from mpac.audit.provider_ledger import SANDBOX, movements

SENTENCE = "Settlements with their corrections are the provider's net, reference by reference."
SIGNS = {"charge": 1, "reversal": -1, "refund": -1}

Place = tuple[str, str]
"""A store and a currency."""

_NET_AMOUNTS = """
    -- net amounts: lines and corrections by their attempt, and final rows that wait for a close
    SELECT store_id, currency, coalesce(our_reference, (
               SELECT min(o.our_reference) FROM settlement_lines o WHERE o.store_id = l.store_id AND o.provider = l.provider
               AND o.kind <> 'adjustment' AND l.our_reference IS NULL AND o.provider_reference = l.provider_reference)),
           sum(amount - fee)::bigint, coalesce(sum(amount) FILTER (WHERE kind = 'adjustment'), 0)::bigint
    FROM settlement_lines l WHERE provider = %(provider)s GROUP BY 1, 2, 3
    UNION ALL
    SELECT store_id, currency, id || ':' || attempts, captured_amount - fee, 0 FROM payments
    WHERE provider = %(provider)s AND completed_at IS NOT NULL AND settlement_id IS NULL
    UNION ALL
    SELECT store_id, currency, id || ':' || attempts, -amount - fee, 0 FROM refunds
    WHERE provider = %(provider)s AND completed_at IS NOT NULL AND settlement_id IS NULL
"""
_ATTEMPTS = """
    SELECT a.reference, p.store_id, p.status IN ('pending', 'processing') FROM payment_attempts a
    JOIN payments p ON p.id = a.payment_id WHERE a.provider = %(provider)s
    UNION ALL
    SELECT a.reference, r.store_id, r.status IN ('pending', 'processing') FROM refund_attempts a
    JOIN refunds r ON r.id = a.refund_id WHERE a.provider = %(provider)s
    UNION ALL -- archived payments: final, and known by their settlement lines
    SELECT l.our_reference, l.store_id, false FROM settlement_lines l
    JOIN archived_months m ON substr(l.entity_id, 5) >= m.low AND substr(l.entity_id, 5) < m.high
    WHERE l.kind = 'payment' AND l.provider = %(provider)s AND l.our_reference IS NOT NULL
"""
_STATED = """
    -- stated: the corrected references in a statement of the last run; a missing fee is taken from the settlement's own lines
    WITH last_run AS (SELECT DISTINCT ON (settlement_id) settlement_id, statement_ids FROM reconciliation_runs
                      ORDER BY settlement_id, number DESC),
    fees AS (SELECT our_reference, currency, sum(fee) AS fee FROM settlement_lines
             WHERE our_reference = ANY(%(references)s) GROUP BY 1, 2)
    SELECT t.store_id, l.currency, l.our_reference, sum(CASE WHEN l.is_settled
               THEN l.amount - coalesce(l.fee, f.fee, 0) ELSE 0 END)::bigint
    FROM last_run r JOIN statements t ON t.id = ANY (r.statement_ids) JOIN statement_lines l ON l.statement_id = t.id
    LEFT JOIN fees f ON f.our_reference = l.our_reference AND f.currency = l.currency
    WHERE t.provider = %(provider)s AND l.our_reference = ANY(%(references)s)
    GROUP BY t.settlement_id, t.store_id, l.currency, l.our_reference
"""


@dataclass(frozen=True, slots=True)
class NetDifference:
    """A reference for which the books and the provider's ledger differ."""

    place: str
    problem: str


@dataclass(slots=True)
class ReferenceBooks:
    """Our amounts by place and attempt reference.

    ``corrected`` is the part of ``net_amount`` that was booked as corrections, and ``stated`` holds the amounts in statements.
    ``stores`` and ``is_open`` map a reference to its store and to whether its outcome is open.
    """

    net_amount: dict[tuple[Place, str], int] = field(default_factory=lambda: defaultdict(int))
    corrected: dict[tuple[Place, str], int] = field(default_factory=lambda: defaultdict(int))
    stated: dict[tuple[Place, str], set[int]] = field(default_factory=lambda: defaultdict(set))
    stores: dict[str, str] = field(default_factory=dict)
    is_open: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NetAudit:
    """The differences, and the numbers of references compared, set aside and explained.

    ``set_aside``: not compared, because the outcome is open. ``explained``: differs from the provider's ledger because of
    booked corrections, but agrees with a statement.
    """

    checked: int
    set_aside: int
    explained: int
    differences: tuple[NetDifference, ...]


async def audit_net(*, database_url: str, sandbox_url: str, control_key: str = "") -> NetAudit:
    """Compare the books with the sandbox provider's ledger, reference by reference. Raises ``UserError``."""
    books = await _read_books(database_url)
    moved: dict[tuple[Place, str], int] = defaultdict(int)
    async for movement in movements(sandbox_url, control_key=control_key):
        reference = movement["reference"]
        if reference in books.stores:  # payment_audit and balance_audit cover all other references
            place = (books.stores[reference], movement["currency"])
            moved[place, reference] += SIGNS[movement["kind"]] * int(movement["amount"]) - int(movement["fee"])
    return compare(books, moved)


def compare(books: ReferenceBooks, moved: Mapping[tuple[Place, str], int]) -> NetAudit:
    """Compare the two sides, reference by reference."""
    checked = set_aside = explained = 0
    differences: list[NetDifference] = []
    for place, reference in sorted(books.net_amount.keys() | moved.keys()):
        if reference not in books.stores:
            continue  # a correction for a statement line without a reference of ours
        if books.is_open[reference]:
            set_aside += 1
            continue
        checked += 1
        key = (place, reference)
        ours, theirs = books.net_amount.get(key, 0), moved.get(key, 0)
        if ours == theirs:
            continue
        if books.corrected.get(key) and ours in books.stated.get(key, {0}):
            explained += 1
            continue
        said = f"{reference}: settlements with corrections hold {ours}, the provider's ledger {theirs}"
        differences.append(NetDifference(" ".join((*place, SANDBOX)), said))
    return NetAudit(checked, set_aside, explained, tuple(differences))


async def _read_books(database_url: str) -> ReferenceBooks:
    books, provider = ReferenceBooks(), {"provider": SANDBOX}
    async with open_snapshot(database_url) as connection:
        for reference, store_id, is_open in await (await connection.execute(_ATTEMPTS.encode(), provider)).fetchall():
            books.stores[reference], books.is_open[reference] = store_id, is_open
        for store_id, currency, reference, net_amount, corrected in await (
            await connection.execute(_NET_AMOUNTS.encode(), provider)
        ).fetchall():
            if reference is not None:
                books.net_amount[(store_id, currency), reference] += net_amount
                books.corrected[(store_id, currency), reference] += abs(corrected)
        corrected_ones = sorted({reference for (_, reference), amount in books.corrected.items() if amount})
        stated = await connection.execute(_STATED.encode(), {**provider, "references": corrected_ones})
        for store_id, currency, reference, net in await stated.fetchall():
            books.stated[(store_id, currency), reference].add(net)
    return books
