"""Derive an attempt's outcome from the lines of a statement that quote it, without any I/O.

All moved lines that quote the attempt's reference are read together. They are an answer if they agree with the request:

| what has to agree   | how                                                                                              |
|---------------------|--------------------------------------------------------------------------------------------------|
| reference           | the last attempt's own (``pay_…:1``); the provider's too, if we know it                          |
| kind                | charges and reversals of a payment, refunds of a refund; the amount is never zero                |
| currency            | the same                                                                                         |
| time                | not before the attempt was sent, and not after the statement was stored                            |
| amount and fee      | decided by ``processing.decide``, as for an inquiry's answer: another amount needs a person       |

| lines of a payment                                 | answer                                                              |
|----------------------------------------------------|---------------------------------------------------------------------|
| charges of its amount, more than their reversals   | ``Succeeded``, by one of them; the others remain breaks             |
| charges and reversals that add up to zero          | ``Withdrawn``, unless they come from a file that a person uploaded  |
| charges that add up to another amount              | ``Succeeded`` with that amount, which needs a person                |
| reversals alone, or more reversals than charges    | none                                                                |

A missing line proves nothing, because a provider may report late.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from workflows.providers.base import Succeeded, Withdrawn
from workflows.reconciliation.models import StatementLineFields

CLOCKS = timedelta(hours=1)
"""The largest accepted difference between the provider's clock and ours, as in ``statements.fetch.SLACK``."""

DAY = timedelta(days=1)  # the date of a line may be in any time zone; ours are compared in UTC

LINE = ("line_number", "kind", "amount", "fee", "currency", "provider_reference", "occurred_at", "occurred_on")
KINDS = {"payment": ("payment", "reversal"), "refund": ("refund",)}
"""Kinds of lines that are about a payment or a refund. A refund under its sale's reference is not about the sale."""


@dataclass(frozen=True, slots=True)
class AttemptRequest:
    """The request of an attempt. ``entity`` is ``payment`` or ``refund``, ``amount`` is above zero."""

    entity: str
    amount: int
    currency: str
    provider_reference: str | None
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class EvidenceReading:
    """The answer and the lines from which it was read, or ``issue``, the reason why the lines are not an answer."""

    answer: Succeeded | Withdrawn | None = None
    lines: tuple[StatementLineFields, ...] = ()
    issue: str | None = None


def read_lines(
    lines: Sequence[StatementLineFields], request: AttemptRequest, *, stored_at: datetime
) -> EvidenceReading:
    """Return the answer that the lines about an attempt give.

    ``lines`` moved money, and are those of a statement that was stored at ``stored_at``.
    """
    strange = [line for line in lines if line["kind"] not in KINDS[request.entity]]
    about = [line for line in lines if line["kind"] in KINDS[request.entity]]
    if request.entity == "refund" and strange:
        return EvidenceReading(issue="The statement also lists it as something other than a refund")
    if not about:
        return EvidenceReading(issue="The statement does not list it")
    issue = next((found for line in about if (found := _issue(line, request, stored_at))), None)
    return EvidenceReading(issue=issue) if issue else _add_up(about, request)


def _issue(line: StatementLineFields, request: AttemptRequest, stored_at: datetime) -> str | None:
    """Return what disagrees with the request, apart from the amount."""
    where = f"Line {line['line_number']}"
    if line["currency"] != request.currency:
        return f"{where} is in {line['currency']}, not {request.currency}"
    known, reported = request.provider_reference, line["provider_reference"]
    if known and reported and known != reported:
        return f"{where} has the provider's reference {reported}, not {known}"
    if line["amount"] == 0 or (line["amount"] > 0) != (line["kind"] == "payment"):
        return f"{where} is a {line['kind']} of {line['amount']}"
    at, on = _instant(line["occurred_at"]), _day(line["occurred_on"])
    if at and not request.sent_at - CLOCKS <= at <= stored_at + CLOCKS:
        return f"{where} is dated {at.isoformat()}; it was sent at {request.sent_at.isoformat()}"
    if on and not request.sent_at.date() - DAY <= on <= stored_at.date() + DAY:
        return f"{where} is dated {on}; it was sent on {request.sent_at.date()}"
    return None


def _add_up(lines: list[StatementLineFields], request: AttemptRequest) -> EvidenceReading:
    amounts = [abs(line["amount"]) for line in lines]
    charges = [line for line in lines if line["kind"] != "reversal"]
    reversals = [line for line in lines if line["kind"] == "reversal"]
    if set(amounts) == {request.amount} and len(charges) > len(reversals):
        charge = charges[0]
        used = (charge, *reversals, *charges[1 : 1 + len(reversals)])
        return EvidenceReading(_succeeded(request.amount, charge, fee=charge["fee"] or 0), used)
    net = abs(sum(line["amount"] for line in charges)) - abs(sum(line["amount"] for line in reversals))
    if net == 0:  # then there are both kinds, because no line has an amount of zero
        return EvidenceReading(Withdrawn(), tuple(lines))
    if net > 0:
        fees = sum(line["fee"] or 0 for line in lines)
        return EvidenceReading(_succeeded(net, charges[0], fee=fees), tuple(lines))
    return EvidenceReading(issue="The statement lists more reversals of it than charges")


def _succeeded(amount: int, line: StatementLineFields, *, fee: int) -> Succeeded:
    return Succeeded(amount, line["provider_reference"], fee=fee)


def _instant(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def _day(value: Any) -> date | None:
    return date.fromisoformat(value) if value else None
