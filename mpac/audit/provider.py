"""The judgement: our payments against the provider's ledger.

| rule | is broken when |
|---|---|
| I1 | a payment was charged more than once, what was reversed not counted |
| I2 | a completed or refunded payment was not charged its amount and tip, or not given back what it says |
| I3 | a failed or cancelled payment was charged and not given everything back |
| unknown | money moved for a payment, or under a key, that we have not written down before |

A payment that is still open may have been charged or not: that is what being open means. Ours are read first and the
ledger after, so that whatever was final then must be in it; payments that came in between are looked up once more.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mpac.audit.ledger import SANDBOX, Ledger, Moved, read_ledger
from mpac.audit.payments import Claim, read_claims

TAKEN = frozenset({"completed", "refunded"})
NOT_TAKEN = frozenset({"failed", "cancelled"})
SENTENCES = {
    "I1": "No payment was charged more than once.",
    "I2": "A completed payment was charged, and given back, exactly what it says.",
    "I3": "No failed or cancelled payment was charged and not reversed.",
    "unknown": "No money moved for a payment or key that we had not written down.",
}


@dataclass(frozen=True, slots=True)
class Broken:
    """One violation."""

    rule: str
    payment_id: str
    problem: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was compared, and what does not fit. ``checked`` counts by rule."""

    payments: int
    movements: int
    checked: dict[str, int]
    broken: tuple[Broken, ...]


async def judge_by_ledger(*, database_url: str, sandbox_url: str, control_key: str = "") -> Judgement:
    """Compare every payment with the sandbox provider's own ledger. Raises ``Trouble`` where one can't be read."""
    claims = await read_claims(database_url, provider=SANDBOX)
    ledger = await read_ledger(sandbox_url, control_key=control_key)
    late = ledger.by_payment.keys() - claims.keys()
    if late:
        claims |= await read_claims(database_url, provider=SANDBOX, ids=late)
    return judge(claims, ledger)


def judge(claims: dict[str, Claim], ledger: Ledger) -> Judgement:
    """The comparison alone."""
    broken: list[Broken] = []
    checked = dict.fromkeys(SENTENCES, 0)
    for payment_id in sorted(claims.keys() | ledger.by_payment.keys()):
        claim, moved = claims.get(payment_id), ledger.by_payment.get(payment_id, Moved())
        for rule, is_for, find in _RULES:
            if is_for(claim, moved):
                checked[rule] += 1
                broken += [Broken(rule, payment_id, problem) for problem in find(claim, moved)]
    return Judgement(len(claims), ledger.movements, checked, tuple(broken))


def _charged_twice(_claim: Claim | None, moved: Moved) -> list[str]:
    left = moved.charges - moved.reversals
    return [f"charged {moved.charges} times, reversed {moved.reversals} times"] if left > 1 else []


def _not_taken_as_told(claim: Claim | None, moved: Moved) -> list[str]:
    assert claim  # noqa: S101 - the table below asks only for payments of ours
    problems = []
    if moved.net_charged != claim.due:
        problems.append(
            f"{claim.status} with {_of(claim.due, claim)} to pay, the provider took {_of(moved.net_charged, moved)}"
        )
    if moved.currencies - {claim.currency}:
        problems.append(f"{claim.status} in {claim.currency}, and the provider took {', '.join(moved.currencies)}")
    # A refund under way has been reserved, and may have been made or not.
    if not claim.refunded <= moved.refunded <= max(claim.refunded, claim.refund_reserved):
        problems.append(f"{_of(claim.refunded, claim)} given back, the provider gave {_of(moved.refunded, moved)}")
    return problems


def _taken_after_all(claim: Claim | None, moved: Moved) -> list[str]:
    assert claim  # noqa: S101 - as above
    kept = moved.net_charged - moved.refunded
    return [f"{claim.status}, and the provider holds {_of(kept, moved)}"] if kept else []


def _not_written_down(claim: Claim | None, moved: Moved) -> list[str]:
    if claim is None:
        return [f"the provider moved {_of(moved.net_charged, moved)} for a payment that we do not know"]
    if not claim.is_at_provider:
        return [f"the provider moved {_of(moved.net_charged, moved)} for a payment that is none of its own"]
    strange = sorted(moved.references - set(claim.references))
    return [f"money moved under the key {reference}, which is no attempt of ours" for reference in strange]


def _of(amount: int, whose: Claim | Moved) -> str:
    """Return an amount with its currency, as both sides store it: formatting would take code of the product."""
    currencies = {whose.currency} if isinstance(whose, Claim) else whose.currencies
    return f"{amount} minor units of {' and '.join(sorted(currencies)) or 'any currency'}"


def _is(statuses: frozenset[str]) -> Callable[[Claim | None, Moved], bool]:
    return lambda claim, _moved: claim is not None and claim.is_at_provider and claim.status in statuses


def _has_moved(_claim: Claim | None, moved: Moved) -> bool:
    return bool(moved.currencies)


_RULES: tuple[
    tuple[str, Callable[[Claim | None, Moved], bool], Callable[[Claim | None, Moved], list[str]]],
    ...,
] = (
    ("I1", _has_moved, _charged_twice),
    ("I2", _is(TAKEN), _not_taken_as_told),
    ("I3", _is(NOT_TAKEN), _taken_after_all),
    ("unknown", _has_moved, _not_written_down),
)
