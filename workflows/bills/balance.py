"""Compute what payments and refunds do to the amounts and the status of a bill, without a database.

| what happened                     | paid | reserved | refunded | status (event) |
|-----------------------------------|------|----------|----------|-------------------------------------------------------------|
| a payment reserves an amount      |      | +        |          | unchanged (reserve) |
| it ends without moving money      |      | −        |          | unchanged (release) |
| it completes                      | +    | −        |          | partially_paid (pay_part, pay_more) or paid (pay_whole) |
| it completes and is refunded in   |      | −        |          | unchanged (release), because the guest still owes the |
| the same transaction              |      |          |          | amount |
| that refund fails                 | +    |          |          | as if the payment completed now, if the balance allows it |
| another refund completes          | −    |          |          | partially_paid (give_back_part) or unpaid (give_back) |
| a refund completes on a paid bill |      |          | +        | stays paid (give_back_paid) |

A bill that was paid in full stays ``paid`` after a refund, because the contract has no edge out of ``paid`` and the bill must
not be paid a second time. The money retained for a bill is ``paid - refunded``. A reservation holds the amount without the
tip. A refund is taken from the amount first and from the tip last (``share_of_refund``).
"""

from dataclasses import dataclass, replace

from workflows.bills.models import BillRow
from workflows.bills.states import BILL, BillEvent, BillRemark, BillStatus
from workflows.errors import BalanceUnavailable, Detail
from workflows.transitions import invalid_transition_error


@dataclass(frozen=True, slots=True)
class Balance:
    """The amounts of one bill, in minor units, and its status."""

    status: str
    total: int
    paid: int = 0
    reserved: int = 0
    refunded: int = 0

    @property
    def available(self) -> int:
        """The amount that new payments may reserve: 0 if the bill is paid or voided."""
        return 0 if self.status == BillStatus.VOIDED else self.total - self.paid - self.reserved

    @property
    def is_touched(self) -> bool:
        """Whether an amount is paid or reserved."""
        return self.paid > 0 or self.reserved > 0


def balance_of(row: BillRow) -> Balance:
    """Return the balance in a row of ``bills``."""
    return Balance(
        status=row["status"],
        total=row["total_amount"],
        paid=row["paid_amount"],
        reserved=row["reserved_amount"],
        refunded=row["refunded_amount"],
    )


@dataclass(frozen=True, slots=True)
class BillStep:
    """A change of a balance: the event in the bill's history, and the balance after the change."""

    event: str
    after: Balance


def reserve_amount(balance: Balance, amount: int) -> BillStep:
    """Reserve ``amount`` for a new payment.

    Raises ``BalanceUnavailable`` with the amount that is left, and ``InvalidStatusTransition`` if the bill is voided.
    """
    if balance.status == BillStatus.VOIDED:
        raise invalid_transition_error(BILL, balance.status, "be paid")
    if amount > balance.available:
        raise BalanceUnavailable(
            Detail("amount", f"Must be at most {balance.available}, the amount left on this bill"),
            Detail("balance_amount", str(balance.available)),
            Detail("paid_amount", str(balance.paid)),
            Detail("reserved_amount", str(balance.reserved)),
            Detail("status", f"The bill is {balance.status}"),
        )
    return BillStep(BillRemark.RESERVE, replace(balance, reserved=balance.reserved + amount))


def release_amount(balance: Balance, amount: int) -> BillStep:
    """Release ``amount``, the reservation of a payment that ended without moving money."""
    return BillStep(BillRemark.RELEASE, replace(balance, reserved=balance.reserved - amount))


def pay_amount(balance: Balance, amount: int) -> BillStep:
    """Turn ``amount`` from reserved into paid."""
    after = replace(balance, paid=balance.paid + amount, reserved=balance.reserved - amount)
    if after.paid == after.total:
        return BillStep(BillEvent.PAY_WHOLE, replace(after, status=BillStatus.PAID))
    event = BillEvent.PAY_PART if balance.status == BillStatus.UNPAID else BillRemark.PAY_MORE
    return BillStep(event, replace(after, status=BillStatus.PARTIALLY_PAID))


def pay_unreserved_amount(balance: Balance, amount: int) -> BillStep:
    """Add ``amount``, which is not reserved, to what is paid. The caller must check that it is available."""
    return pay_amount(replace(balance, reserved=balance.reserved + amount), amount)


def refund_amount(balance: Balance, amount: int) -> BillStep:
    """Subtract ``amount`` from what is paid, or add it to ``refunded`` if the bill was paid in full."""
    if balance.status == BillStatus.PAID:
        return BillStep(BillRemark.GIVE_BACK_PAID, replace(balance, refunded=balance.refunded + amount))
    after = replace(balance, paid=balance.paid - amount)
    if after.paid == 0:
        return BillStep(BillEvent.GIVE_BACK, replace(after, status=BillStatus.UNPAID))
    return BillStep(BillRemark.GIVE_BACK_PART, after)


def share_of_refund(*, amount: int, refunded_before: int, refund: int) -> int:
    """Return the part of ``refund`` that is subtracted from the bill.

    ``amount`` is the amount of the payment without its tip. ``refunded_before`` is the sum of its earlier completed refunds.
    The tip is refunded last, because it was not part of the bill.
    """
    return max(amount - refunded_before, 0) - max(amount - refunded_before - refund, 0)
