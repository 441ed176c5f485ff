"""Inject breaks: build a provider's statement that agrees with a settlement except for the requested breaks.

Each break has its own line, chosen by a seed. So it is known for each line what a matcher must find:

| category                | what is done to the statement                                     |
|-------------------------|-------------------------------------------------------------------|
| ``missing_at_provider`` | the line is left out                                              |
| ``missing_internally``  | a line of an unknown payment is added                             |
| ``amount_mismatch``     | the amount is a little further from zero                          |
| ``currency_mismatch``   | the line is in another currency                                   |
| ``status_mismatch``     | the line is reversed by a later line                              |
| ``fee_mismatch``        | the fee is a little further from zero                             |
| ``duplicate_provider``  | the line occurs twice                                             |
| ``duplicate_internal``  | of two of our lines with one provider reference, one is left out  |
| ``date_mismatch``       | the line happened three days earlier                              |

A matcher must find each break under its category. (A line that is left out is ``expected`` while the provider's service level
lasts.) A ``duplicate_internal`` is possible only where two of our lines share a provider's reference.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

from mpac.devtools.statement.lines import FileLine, SourceLine, mirror


@dataclass(frozen=True, slots=True)
class InjectedBreak:
    """One injected break: the references of its line, and the category under which a matcher must find it."""

    category: str
    our_reference: str | None
    provider_reference: str | None


LineChange = Callable[[SourceLine, Random], list[FileLine]]

OTHER_CURRENCY = {"USD": "EUR"}


def _perturb(value: int, random: Random) -> int:
    """Return another number of the same sign, up to 500 further from zero."""
    step = random.randint(1, 500)
    return value + (step if value >= 0 else -step)


def _change_amount(line: SourceLine, random: Random) -> list[FileLine]:
    return [replace(mirror(line), amount=_perturb(line.amount, random))]


def _change_currency(line: SourceLine, _random: Random) -> list[FileLine]:
    return [replace(mirror(line), currency=OTHER_CURRENCY.get(line.currency, "USD"))]


def _add_reversal(line: SourceLine, _random: Random) -> list[FileLine]:
    its = mirror(line)
    return [its, replace(its, kind="reversal", amount=-its.amount, fee=-its.fee)]


def _change_fee(line: SourceLine, random: Random) -> list[FileLine]:
    return [replace(mirror(line), fee=_perturb(line.fee, random))]


def _add_unknown_payment(line: SourceLine, random: Random) -> list[FileLine]:
    name = f"{random.getrandbits(64):016x}"
    unknown = replace(mirror(line), our_reference=f"pay_planted{name}:1", provider_reference=f"planted_{name}")
    return [mirror(line), unknown]


CHANGES: dict[str, LineChange] = {
    "missing_at_provider": lambda _line, _random: [],
    "missing_internally": _add_unknown_payment,
    "amount_mismatch": _change_amount,
    "currency_mismatch": _change_currency,
    "status_mismatch": _add_reversal,
    "fee_mismatch": _change_fee,
    "duplicate_provider": lambda line, _random: [mirror(line), mirror(line)],
    "duplicate_internal": lambda _line, _random: [],
    "date_mismatch": lambda line, _random: [replace(mirror(line), at=line.occurred_at - timedelta(days=3))],
}
PAYMENTS_ONLY = frozenset({"status_mismatch"})
"""Categories that only a payment can have: providers reverse charges, not refunds."""


class TooFewLines(Exception):
    """There are too few lines for the requested breaks."""


def inject_breaks(
    lines: list[SourceLine], wanted: dict[str, int], *, seed: int
) -> tuple[list[FileLine], list[InjectedBreak]]:
    """Return the statement and the breaks in it. Raises ``TooFewLines``."""
    random = Random(seed)  # noqa: S311 - the same seed must inject the same breaks
    return inject_breaks_at(lines, _choose(lines, wanted, random), random=random)


def inject_breaks_at(
    lines: list[SourceLine], chosen: dict[tuple[str, str], str], *, random: Random
) -> tuple[list[FileLine], list[InjectedBreak]]:
    """Return the statement with a break on each line in ``chosen``, and these breaks.

    ``chosen`` maps ``SourceLine.key`` to the category.
    """
    statement: list[FileLine] = []
    truth: list[InjectedBreak] = []
    for line in lines:
        category = chosen.get(line.key)
        its = CHANGES[category](line, random) if category else [mirror(line)]
        statement += its
        if category:
            of = its[-1] if category == "missing_internally" else mirror(line)
            truth.append(InjectedBreak(category, of.our_reference, of.provider_reference))
    return statement, truth


def _choose(lines: list[SourceLine], wanted: dict[str, int], random: Random) -> dict[tuple[str, str], str]:
    """Choose a different line for each break."""
    twins = _shared_references(lines)
    whole = [line for line in lines if line.key not in twins]
    random.shuffle(whole)
    chosen: dict[tuple[str, str], str] = {}
    for category, count in wanted.items():
        if category == "duplicate_internal":
            fitting = [line for line in lines if twins.get(line.key) == "second"]
        else:
            fitting = [line for line in whole if line.key not in chosen and _fits(line, category)]
        if len(fitting) < count:
            raise TooFewLines(f"{category} needs {count} lines, and only {len(fitting)} are left for it")
        chosen |= {line.key: category for line in fitting[:count]}
    return chosen


def _fits(line: SourceLine, category: str) -> bool:
    return line.kind == "payment" or category not in PAYMENTS_ONLY


def _shared_references(lines: list[SourceLine]) -> dict[tuple[str, str], str]:
    """Return the keys of the lines whose provider reference occurs more than once.

    The value is ``first`` for the first line with a reference, and ``second`` for each later line.
    """
    seen: dict[tuple[str, str | None], tuple[str, str]] = {}
    twins: dict[tuple[str, str], str] = {}
    for line in sorted(lines, key=lambda line: line.entity_id):
        name = (line.kind, line.provider_reference)
        if line.provider_reference is not None and name in seen:
            twins[seen[name]], twins[line.key] = "first", "second"
        seen.setdefault(name, line.key)
    return twins
