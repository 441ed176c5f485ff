"""Card and e-money run by the terminal's own card application: the terminal reports the result, we record it.

Its acquirer has never heard of our payments, so in its statement they are found by what the terminal reported: the
acquirer's reference number (ARN), or else the number of the slip.
"""

from workflows.providers.base import Charge, ChargeRefund, Declined, Outcome, Succeeded
from workflows.providers.codes import FailureCode

NAME = "external"
APPROVED = "approved"


def charge(charge: Charge) -> Outcome:
    """What the terminal reported. Says the same however often it is called."""
    if charge.facts.get("external_result") != APPROVED:
        return Declined(code=FailureCode.DECLINED, message="The terminal reported that the card application declined")
    return Succeeded(
        amount=charge.amount, provider_reference=charge.facts.get("card_arn") or charge.facts.get("slip_number")
    )


def refund(refund: ChargeRefund) -> Outcome:
    """Return the result that the terminal reported. Without a report the refund was carried out before it was requested."""
    if refund.report.get("result", APPROVED) != APPROVED:
        return Declined(code=FailureCode.DECLINED, message="The terminal reported that the money was not given back")
    return Succeeded(
        amount=refund.amount, provider_reference=refund.report.get("card_arn") or refund.report.get("slip_number")
    )
