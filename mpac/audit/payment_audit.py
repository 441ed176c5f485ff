"""Audit our payments against the provider's ledger.

| rule | is broken when |
|---|---|
| I1 | a payment was charged more than once, not counting reversed charges |
| I2 | a completed or refunded payment was not charged its amount and tip, or not refunded the recorded amount |
| I3 | a failed or cancelled payment was charged and not fully reversed |
| unknown | money moved for a payment, or under a key, that was not recorded before |

I2 and I3 skip open payments, which may or may not have been charged. Our payments are read before the ledger, so the ledger
must contain the charge of every payment that was completed then. Payments that only the ledger knows are read once more,
because they may have been created in between.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mpac.audit.provider_ledger import SANDBOX, PaymentMovements, ProviderLedger, read_ledger
from mpac.audit.recorded_payments import AuditedPayment, read_recorded_payments

TAKEN = frozenset({"completed", "refunded"})
NOT_TAKEN = frozenset({"failed", "cancelled"})
SENTENCES = {
    "I1": "No payment was charged more than once.",
    "I2": "A completed payment was charged, and refunded, exactly the recorded amounts.",
    "I3": "No failed or cancelled payment was charged and not reversed.",
    "unknown": "No money moved for a payment or key that was not recorded before.",
}


@dataclass(frozen=True, slots=True)
class PaymentViolation:
    """A rule that a payment breaks, and what is wrong."""

    rule: str
    payment_id: str
    problem: str


@dataclass(frozen=True, slots=True)
class PaymentAudit:
    """How many payments and movements were compared, how many checks each rule made, and the violations."""

    payments: int
    movements: int
    checked: dict[str, int]
    broken: tuple[PaymentViolation, ...]


async def audit_payments(*, database_url: str, sandbox_url: str, control_key: str = "") -> PaymentAudit:
    """Compare every payment with the sandbox provider's own ledger.

    Raises ``UserError`` if the payments or the ledger can't be read.
    """
    recorded = await read_recorded_payments(database_url, provider=SANDBOX)
    ledger = await read_ledger(sandbox_url, control_key=control_key)
    late = ledger.by_payment.keys() - recorded.keys()
    if late:
        recorded |= await read_recorded_payments(database_url, provider=SANDBOX, ids=late)
    return compare_payments(recorded, ledger)


def compare_payments(recorded: dict[str, AuditedPayment], ledger: ProviderLedger) -> PaymentAudit:
    """Compare the two sides and return the result."""
    broken: list[PaymentViolation] = []
    checked = dict.fromkeys(SENTENCES, 0)
    for payment_id in sorted(recorded.keys() | ledger.by_payment.keys()):
        payment, moved = recorded.get(payment_id), ledger.by_payment.get(payment_id, PaymentMovements())
        for rule, is_for, find in _RULES:
            if is_for(payment, moved):
                checked[rule] += 1
                broken += [PaymentViolation(rule, payment_id, problem) for problem in find(payment, moved)]
    return PaymentAudit(len(recorded), ledger.movements, checked, tuple(broken))


def _charged_twice(_payment: AuditedPayment | None, moved: PaymentMovements) -> list[str]:
    left = moved.charges - moved.reversals
    return [f"charged {moved.charges} times, reversed {moved.reversals} times"] if left > 1 else []


def _amount_differs(payment: AuditedPayment | None, moved: PaymentMovements) -> list[str]:
    assert payment  # noqa: S101 - ``_RULES`` applies this to recorded payments only
    problems = []
    if moved.net_charged != payment.due:
        problems.append(
            f"{payment.status} with {_format_amount(payment.due, payment)} to pay, "
            f"the provider charged {_format_amount(moved.net_charged, moved)}"
        )
    if moved.currencies - {payment.currency}:
        problems.append(
            f"{payment.status} in {payment.currency}, and the provider charged {', '.join(moved.currencies)}"
        )
    # A refund in progress has been reserved, and may or may not have been made.
    if not payment.refunded <= moved.refunded <= max(payment.refunded, payment.refund_reserved):
        problems.append(
            f"{_format_amount(payment.refunded, payment)} refunded, "
            f"the provider refunded {_format_amount(moved.refunded, moved)}"
        )
    return problems


def _still_charged(payment: AuditedPayment | None, moved: PaymentMovements) -> list[str]:
    assert payment  # noqa: S101 - as above
    kept = moved.net_charged - moved.refunded
    return [f"{payment.status}, and the provider holds {_format_amount(kept, moved)}"] if kept else []


def _unknown_movement(payment: AuditedPayment | None, moved: PaymentMovements) -> list[str]:
    if payment is None:
        return [
            f"the provider moved {_format_amount(moved.net_charged, moved)} for a payment that is not in our database"
        ]
    if not payment.is_at_provider:
        return [f"the provider moved {_format_amount(moved.net_charged, moved)} for a payment of another provider"]
    strange = sorted(reference for reference in moved.references if not payment.knows(reference))
    return [f"money moved under the key {reference}, which is not an attempt of ours" for reference in strange]


def _format_amount(amount: int, whose: AuditedPayment | PaymentMovements) -> str:
    """Return an amount in minor units with its currency.

    Formatting the amount as money would need the product's code.
    """
    currencies = {whose.currency} if isinstance(whose, AuditedPayment) else whose.currencies
    return f"{amount} minor units of {' and '.join(sorted(currencies)) or 'any currency'}"


def _has_status(statuses: frozenset[str]) -> Callable[[AuditedPayment | None, PaymentMovements], bool]:
    return lambda payment, _moved: payment is not None and payment.is_at_provider and payment.status in statuses


def _has_moved(_payment: AuditedPayment | None, moved: PaymentMovements) -> bool:
    return bool(moved.currencies)


_RULES: tuple[
    tuple[
        str,
        Callable[[AuditedPayment | None, PaymentMovements], bool],
        Callable[[AuditedPayment | None, PaymentMovements], list[str]],
    ],
    ...,
] = (
    ("I1", _has_moved, _charged_twice),
    ("I2", _has_status(TAKEN), _amount_differs),
    ("I3", _has_status(NOT_TAKEN), _still_charged),
    ("unknown", _has_moved, _unknown_movement),
)
