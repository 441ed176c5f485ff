"""Check that settlements, the ledger's accounts and the provider's own ledger add up to the same amounts.

| rule      | by                        | is broken when                                                                  |
|-----------|---------------------------|---------------------------------------------------------------------------------|
| totals    | store, currency           | the frozen totals of closed settlements are not the sums of their lines         |
| accounts  | store, currency, provider | lines and final rows without a line differ from the bookings or balances        |
| movements | store, currency           | these lines and rows differ from what the provider charged, refunded, retained  |

A difference of a single minor unit is reported. ``payment_audit`` tells which payment it belongs to. Money that moved for a
payment or refund with an open outcome is in neither of our books; such movements are set aside. Our books are read before the
provider's ledger, so the ledger must contain everything that is final in our books.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mpac.audit.our_balances import Figures, OurBalances, Place, find_newer_attempts, read_our_balances
from mpac.audit.provider_ledger import SANDBOX, movements

NOBODY = "no store of ours"
SENTENCES = {
    "totals": "Closed settlements add up to what their lines add up to.",
    "accounts": "The ledger's accounts add up to what was settled or waits for it.",
    "movements": "The provider's own ledger adds up to the same, fees included.",
}
FIGURES_OF_MOVEMENT = {
    "charge": lambda movement: Figures(taken=movement["amount"], fees=movement["fee"]),
    "reversal": lambda movement: Figures(taken=-movement["amount"], fees=movement["fee"]),
    "refund": lambda movement: Figures(refunded=movement["amount"], fees=movement["fee"]),
}
"""Kind of movement → its amount and fee as our figures. The provider's amounts are positive, except the fee of a reversal."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A place for which two books differ: a store, a currency and, if the rule compares by it, a provider."""

    rule: str
    place: str
    problem: str


@dataclass(frozen=True, slots=True)
class BalanceAudit:
    """The result: the number of compared places by rule, and the differences.

    ``set_aside`` is the number of movements of payments and refunds with an open outcome.
    """

    checked: dict[str, int]
    set_aside: int
    differences: tuple[Difference, ...]


async def audit_balances(*, database_url: str, sandbox_url: str | None, control_key: str = "") -> BalanceAudit:
    """Add up all books and compare them.

    Without ``sandbox_url`` only our two books are compared. Raises ``UserError``.
    """
    books = await read_our_balances(database_url, provider=SANDBOX if sandbox_url else None)
    if not sandbox_url:
        return compare(books, moved=None)
    moved: dict[Place, Figures] = {}
    strange: dict[str, list[dict[str, Any]]] = defaultdict(list)
    set_aside = 0
    async for movement in movements(sandbox_url, control_key=control_key):
        reference = movement["reference"]
        if reference not in books.store_of_attempt:
            strange[reference].append(movement)
        elif (store_id := books.store_of_attempt[reference]) is None:
            set_aside += 1
        else:
            _add(moved, store_id, movement)
    newer = await find_newer_attempts(database_url, provider=SANDBOX, references=strange) if strange else set()
    for reference, several in strange.items():
        for movement in several if reference not in newer else ():
            _add(moved, NOBODY, movement)
    set_aside += sum(len(strange[reference]) for reference in newer)
    return compare(books, moved=moved, set_aside=set_aside)


def compare(books: OurBalances, *, moved: dict[Place, Figures] | None, set_aside: int = 0) -> BalanceAudit:
    """Compare the sums of our books and, unless ``moved`` is ``None``, those of the provider's movements."""
    at_provider = _expected_movements(books.settled)
    rules: dict[str, tuple[tuple[str, dict[Place, Figures]], tuple[str, dict[Place, Figures]]]] = {
        "totals": (("settlements", books.totals), ("their lines", books.lines_of_closed)),
        "accounts": (("settled or waiting", books.settled), ("the accounts", books.accounts)),
    }
    if moved is not None:
        rules["movements"] = (("settled or waiting", at_provider), ("the provider", moved))
    checked = {rule: len(ours[1].keys() | theirs[1].keys()) for rule, (ours, theirs) in rules.items()}
    found = [difference for rule, sides in rules.items() for difference in _differences(rule, *sides)]
    found += [
        Difference(
            "accounts", " ".join(place), f"there must be {figures.net_amount}, and the accounts hold {net_amount}"
        )
        for place, net_amount in sorted(books.net_amount.items())
        if net_amount != (figures := books.accounts[place]).net_amount
    ]
    return BalanceAudit(checked, set_aside, tuple(found))


def _differences(
    rule: str, ours: tuple[str, dict[Place, Figures]], theirs: tuple[str, dict[Place, Figures]]
) -> Iterator[Difference]:
    (our_name, our_sums), (their_name, their_sums) = ours, theirs
    for place in sorted(our_sums.keys() | their_sums.keys()):
        pairs: Iterable[tuple[str, int, int]] = zip(
            Figures._fields, our_sums.get(place, Figures()), their_sums.get(place, Figures()), strict=True
        )
        for name, one, other in pairs:
            if one != other:
                words = name.replace("_", " ")
                yield Difference(
                    rule, " ".join(place), f"{words}: {our_name} {one}, {their_name} {other} (minor units)"
                )


def _add(sums: dict[Place, Figures], store_id: str, movement: dict[str, Any]) -> None:
    place = (store_id, movement["currency"])
    more = FIGURES_OF_MOVEMENT[movement["kind"]](movement)
    sums[place] = Figures(*(one + other for one, other in zip(sums.get(place, Figures()), more, strict=True)))


def _expected_movements(settled: dict[Place, Figures]) -> dict[Place, Figures]:
    """Return what the provider should have moved.

    Our corrections are left out, because the provider did not move them.
    """
    return {
        (store_id, currency): figures._replace(adjusted=0)
        for (store_id, currency, provider), figures in settled.items()
        if provider == SANDBOX
    }
