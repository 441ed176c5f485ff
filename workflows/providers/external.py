"""Card and e-money payments by the terminal's own card application: record the result that the terminal reports.

Its acquirer does not know our references, so its statement is matched by the numbers that the terminal reported: the
acquirer's reference number (ARN), or else the number of the slip.
"""

from workflows.providers.base import Charge, ChargeRefund, Declined, Outcome, Succeeded
from workflows.providers.codes import FailureCode

NAME = "external"
APPROVED = "approved"


def charge(charge: Charge) -> Outcome:
    """Return the result that the terminal reported. It never changes."""
    if charge.facts.get("external_result") != APPROVED:
        return Declined(code=FailureCode.DECLINED, message="The terminal reported that the card application declined")
    return Succeeded(
        amount=charge.amount, provider_reference=charge.facts.get("card_arn") or charge.facts.get("slip_number")
    )


def refund(refund: ChargeRefund) -> Outcome:
    """Return the result that the terminal reported.

    Without a report the refund counts as approved: it was carried out before it was requested.
    """
    if refund.report.get("result", APPROVED) != APPROVED:
        return Declined(code=FailureCode.DECLINED, message="The terminal reported that the money was not refunded")
    return Succeeded(
        amount=refund.amount, provider_reference=refund.report.get("card_arn") or refund.report.get("slip_number")
    )
